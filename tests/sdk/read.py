"""Logs in and reads secrets with the official client for Python: arguments are URL, client id, project and environment;
the client secret is on the standard input. What was read is printed as JSON."""

import json
import sys

from infisical_sdk import InfisicalSDKClient
from infisical_sdk.infisical_requests import APIError

host, client_id, project, environment, path = sys.argv[1:]
client = InfisicalSDKClient(host=host, cache_ttl=None)
client.auth.universal_auth.login(client_id=client_id, client_secret=sys.stdin.read().strip())
place = {"environment_slug": environment, "secret_path": path}
listed = client.secrets.list_secrets(project_id=project, **place)
read = {}
for secret in listed.secrets:
    one = client.secrets.get_secret_by_name(secret_name=secret.secretKey, project_id=project, **place)
    assert one.secretValue == secret.secretValue, f"{secret.secretKey} is read in two ways"
    read[one.secretKey] = {"value": one.secretValue, "version": one.version}
missing = None
try:
    client.secrets.get_secret_by_name(secret_name="NOT_THERE", project_id=project, **place)
except APIError as error:
    missing = f"{error.status_code} {error}"
folders = client.folders.list_folders(project_id=project, environment_slug=environment, path="/")
print(json.dumps({"read": read, "missing": missing, "folders": [folder.name for folder in folders.folders]}))
