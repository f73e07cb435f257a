//! Samba as an Active Directory domain controller, with LDAP alone.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Command, Output};

use super::process::{Folder, Server, Signal, in_private_etc, output, program};
use super::{certificates, random_word};

/// A domain `rota.test` with a handful of users, whose passwords `rota_admin` may reset, who may nothing else, and `outsider`. Its ports can't be chosen, so it has an address of its own.
#[derive(Debug)]
pub struct ActiveDirectory {
    /// The server; its port is nobody's.
    pub server: Server,
    /// Of `rota_admin`.
    pub admin_password: String,
    /// The first password of everybody else.
    pub app_password: String,
    address: Ipv4Addr,
}

/// The domain.
pub const DOMAIN: &str = "rota.test";

/// Those who are rotated.
const USERS: &str = "twenty_a twenty_b cut_a cut_b wrong";

/// Where a port's domain controller is.
fn address(port: u16) -> Ipv4Addr {
    let [high, low] = port.to_be_bytes();
    Ipv4Addr::new(127, 91, high, low)
}

/// One process for what would be a dozen of `samba-tool`.
const MAKE_USERS: &str = r#"
import os, sys
from samba.auth import system_session
from samba.param import LoadParm
from samba.samdb import SamDB
from samba.sd_utils import SDUtils
configuration, database, right, *users = sys.argv[1:]
parameters = LoadParm()
parameters.load(configuration)
db = SamDB(url=database, session_info=system_session(), lp=parameters)
db.set_minPwdAge("0")
db.newuser("rota_admin", os.environ["admin"])
sid = SDUtils(db).get_object_sid(f"CN=rota_admin,CN=Users,{db.domain_dn()}")
for user in users + ["outsider"]:
    db.newuser(user, os.environ["app"])
for user in users:
    SDUtils(db).dacl_add_ace(f"CN={user},CN=Users,{db.domain_dn()}", f"(OA;;CR;{right};;{sid})")
"#;

/// The right that Active Directory calls "Reset Password".
const RESET_PASSWORD: &str = "00299570-246d-11d0-a768-00aa006e0529";

impl ActiveDirectory {
    /// A new one. It takes root.
    pub fn start() -> Self {
        let samba = program(&["/usr/sbin/samba"]);
        let folder = Folder::make();
        certificates::make(&folder);
        let (admin, app, root) = (random_word(), random_word(), random_word());
        let here = folder.path().display().to_string();
        folder.write("passwords", &format!("admin='{admin}'\napp='{app}'\nroot='{root}'\n"));
        let directories = "run ncalrpc winbindd ntp_signd";
        let script = format!(
            "umask 077; cd {here}; . ./passwords; ip=$(cat ip); rm -rf dc passwords
             rm -f /etc/samba/smb.conf /etc/krb5.conf; mkdir -p {directories}
             samba-tool domain provision --targetdir={here}/dc --realm=ROTA.TEST --domain=ROTA --server-role=dc \
               --dns-backend=NONE --adminpass=\"$root\" --host-name=rotadc --host-ip=$ip \
               --option=\"interfaces=$ip/8\" --option='bind interfaces only=yes' --option='pid directory={here}/run'
             printf '%s\\n' \"interfaces = $ip/8\" 'bind interfaces only = yes' 'server services = ldap' \
               'disable netbios = yes' 'old password allowed period = 0' 'pid directory = {here}/run' \
               'ncalrpc dir = {here}/ncalrpc' 'winbindd socket directory = {here}/winbindd' \
               'ntp signd socket directory = {here}/ntp_signd' 'tls enabled = yes' 'tls keyfile = {here}/server.key' \
               'tls certfile = {here}/server.pem' 'tls cafile = {here}/ca.pem' >more
             c={here}/dc/etc/smb.conf
             sed -i '/server services/d; /pid directory/d; /^\\[global\\]/r more' $c
             admin=\"$admin\" app=\"$app\" /usr/bin/python3 -c '{MAKE_USERS}' $c {here}/dc/private/sam.ldb {RESET_PASSWORD} {USERS}
             exec {} -s $c --foreground --debug-stdout\n",
            samba.display()
        );
        let script = in_private_etc(&folder, &script);
        let words = |port: u16| {
            std::fs::write(format!("{here}/ip"), address(port).to_string()).unwrap();
            script.clone()
        };
        let ready = |port| TcpStream::connect((address(port), 636)).is_ok();
        let server = Server::start(&folder, Signal::Kill, words, ready);
        let address = address(server.port);
        let this = Self { server, admin_password: admin, app_password: app, address };
        super::process::eventually("a first login", || {
            this.client("outsider", &this.app_password).status.success()
        });
        this
    }

    /// Where it speaks TLS.
    pub fn secure(&self) -> SocketAddr {
        (self.address, 636).into()
    }

    /// Where it takes `StartTLS`.
    pub fn plain(&self) -> SocketAddr {
        (self.address, 389).into()
    }

    /// Somebody's distinguished name.
    pub fn dn(&self, user: &str) -> String {
        format!("CN={user},CN=Users,DC=rota,DC=test")
    }

    /// Binds over TLS with the system's own client, which takes the certificate's authority and not its name.
    pub fn client(&self, user: &str, password: &str) -> Output {
        let url = format!("ldaps://{}", self.address);
        let mut client = Command::new("ldapsearch");
        client.env("LDAPTLS_CACERT", self.server.path("ca.pem")).env("LDAPTLS_REQCERT", "allow");
        let name = if user.contains(['=', '@']) { user.to_owned() } else { self.dn(user) };
        output(
            client
                .args(["-x", "-LLL", "-H", &url, "-D", &name, "-w", password, "-b", "", "-s", "base", "dn"]),
        )
    }
}
