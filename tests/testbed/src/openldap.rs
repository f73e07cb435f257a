//! OpenLDAP with a password policy, over TLS and by `StartTLS`.

use std::fmt::Write;
use std::process::{Command, Output};

use super::process::{Folder, Server, Signal, command_as, free_port, listens, output, program, run};
use super::{certificates, random_word};

/// A directory `dc=rota,dc=test` with `cn=rota_admin`, who may set passwords and not read them, and `uid=app_a`,
/// `uid=app_b` and `uid=outsider` below `ou=people`, who may change their own.
#[derive(Debug)]
pub struct Openldap {
    /// The server; its port is the one without TLS.
    pub server: Server,
    /// The port that speaks TLS.
    pub tls_port: u16,
    /// Of `cn=rota_admin`.
    pub admin_password: String,
    /// The first password of the people.
    pub app_password: String,
}

/// Its suffix.
pub const BASE: &str = "dc=rota,dc=test";

impl Openldap {
    /// A new one.
    pub fn start() -> Self {
        let folder = Folder::make();
        certificates::make(&folder);
        std::fs::create_dir(folder.join("db")).unwrap();
        let (admin, app) = (random_word(), random_word());
        let here = folder.path().display().to_string();
        folder.write("slapd.conf", &configuration(&here));
        folder.write("init.ldif", &entries(&admin, &app));
        folder.give_to("openldap");
        let slapd = program(&["/usr/sbin/slapd"]);
        let mut load = command_as("openldap", program(&["/usr/sbin/slapadd"]));
        run(load.args(["-q", "-f", &format!("{here}/slapd.conf"), "-l", &format!("{here}/init.ldif")]));
        std::fs::remove_file(folder.join("init.ldif")).unwrap();
        let tls_port = free_port();
        let words = |port: u16| {
            let mut words = super::process::as_user("openldap");
            let urls = format!("ldap://127.0.0.1:{port}/ ldaps://127.0.0.1:{tls_port}/");
            let slapd = slapd.display().to_string();
            words.extend(
                [&slapd, "-f", &format!("{here}/slapd.conf"), "-h", &urls, "-d", "stats"]
                    .map(ToOwned::to_owned),
            );
            words
        };
        let ready = |port| listens(port) && listens(tls_port);
        let server = Server::start(&folder, Signal::Term, words, ready);
        Self { server, tls_port, admin_password: admin, app_password: app }
    }

    /// Binds over TLS with the system's own client.
    pub fn whoami(&self, dn: &str, password: &str) -> Output {
        // It would take the name of this machine for `localhost`.
        let url = format!("ldaps://127.0.0.1:{}", self.tls_port);
        let mut client = Command::new("ldapwhoami");
        client.env("LDAPTLS_CACERT", self.server.path("ca.pem")).env("LDAPTLS_REQCERT", "demand");
        output(client.args(["-x", "-H", &url, "-D", dn, "-w", password]))
    }
}

fn configuration(here: &str) -> String {
    format!(
        "include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload ppolicy
pidfile {here}/slapd.pid
TLSCACertificateFile {here}/ca.pem
TLSCertificateFile {here}/server.pem
TLSCertificateKeyFile {here}/server.key
disallow bind_anon
password-hash {{SSHA}}
database mdb
suffix \"{BASE}\"
rootdn \"cn=root,{BASE}\"
directory {here}/db
maxsize 67108864
dbnosync
overlay ppolicy
ppolicy_default \"cn=default,ou=policies,{BASE}\"
ppolicy_hash_cleartext
access to attrs=userPassword by dn.exact=\"cn=rota_admin,{BASE}\" =w by self =xw by anonymous auth by * none
access to * by dn.exact=\"cn=rota_admin,{BASE}\" read by self read by * none
"
    )
}

fn entries(admin: &str, app: &str) -> String {
    let hashed = |password: &str| {
        run(Command::new(program(&["/usr/sbin/slappasswd"])).args(["-h", "{SSHA}", "-s", password]))
    };
    let mut text = format!(
        "dn: {BASE}
objectClass: dcObject
objectClass: organization
o: rota
dc: rota

dn: ou=policies,{BASE}
objectClass: organizationalUnit
ou: policies

dn: cn=default,ou=policies,{BASE}
objectClass: device
objectClass: pwdPolicy
cn: default
pwdAttribute: userPassword
pwdCheckQuality: 1
pwdMinLength: 8
pwdInHistory: 2

dn: cn=rota_admin,{BASE}
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: rota_admin
userPassword: {}

dn: ou=people,{BASE}
objectClass: organizationalUnit
ou: people
",
        hashed(admin)
    );
    for user in ["app_a", "app_b", "outsider"] {
        let password = hashed(app);
        write!(
            text,
            "\ndn: uid={user},ou=people,{BASE}\nobjectClass: inetOrgPerson\nuid: {user}\ncn: {user}\nsn: {user}\n\
             userPassword: {password}\n"
        )
        .unwrap();
    }
    text
}
