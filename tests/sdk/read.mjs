// Logs in and reads secrets with the official client for Node: arguments are URL, client id, project and environment;
// the client secret is on the standard input. What was read is printed as JSON.
import { readFileSync } from "node:fs";
import { InfisicalSDK } from "@infisical/sdk";

const [siteUrl, clientId, projectId, environment, secretPath] = process.argv.slice(2);
const clientSecret = readFileSync(0, "utf8").trim();
const client = new InfisicalSDK({ siteUrl });
await client.auth().universalAuth.login({ clientId, clientSecret });
await client.auth().universalAuth.renew();
const asked = { environment, projectId, secretPath };
const { secrets } = await client.secrets().listSecrets({ ...asked, includeImports: true, recursive: true });
const read = {};
for (const { secretKey } of secrets) {
  const secret = await client.secrets().getSecret({ ...asked, secretName: secretKey });
  const listed = secrets.find((other) => other.secretKey === secretKey);
  if (secret.secretValue !== listed.secretValue) throw new Error(`${secretKey} is read in two ways`);
  read[secretKey] = { value: secret.secretValue, version: secret.version };
}
let missing = null;
try {
  await client.secrets().getSecret({ ...asked, secretName: "NOT_THERE" });
} catch (error) {
  missing = error.message;
}
const folders = await client.folders().listFolders({ environment, projectId, path: "/" });
console.log(JSON.stringify({ read, missing, folders: folders.map((folder) => folder.name) }));
