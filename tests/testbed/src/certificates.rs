//! An authority, a certificate for `localhost` by it, and an authority that signed nothing.

use std::process::Command;

use super::process::{Folder, Server, run};

/// Makes `ca.pem`, `server.pem`, `server.key` and `other.pem` in the folder of a server.
pub fn make(folder: &Folder) {
    let openssl = |arguments: &str| {
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
        let arguments = arguments.replace("KEY", key);
        run(Command::new("openssl").args(arguments.split_whitespace()).current_dir(folder.path()));
    };
    let authority = "-addext keyUsage=critical,keyCertSign,cRLSign -days 2";
    openssl(&format!("req -x509 KEY -keyout ca.key -out ca.pem -subj /CN=authority {authority}"));
    openssl(&format!("req -x509 KEY -keyout other.key -out other.pem -subj /CN=other {authority}"));
    openssl("req KEY -keyout server.key -out server.csr -subj /CN=localhost");
    let names = "subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n\
                 keyUsage=digitalSignature\nextendedKeyUsage=serverAuth\n";
    folder.write("names", names);
    openssl(
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out server.pem -days 2 -extfile names",
    );
    run(Command::new("chmod").arg("600").arg(folder.join("server.key")));
}

impl Server {
    /// The authority that signed its certificate, in PEM.
    pub fn authority(&self) -> String {
        std::fs::read_to_string(self.path("ca.pem")).unwrap()
    }

    /// An authority that signed nothing.
    pub fn other_authority(&self) -> String {
        std::fs::read_to_string(self.path("other.pem")).unwrap()
    }
}
