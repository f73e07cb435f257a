//! The way to a target: addresses from the [`Network`] alone, time-outs on everything, TLS as the connection says.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::connection::Connection;
use crate::failure::Failure;
use crate::target::Network;

/// To reach a target at all.
pub(crate) const CONNECT: Duration = Duration::from_secs(10);
/// For anything that is asked of it.
pub(crate) const STEP: Duration = Duration::from_secs(15);

/// Whether what is asked of a target may have happened when its answer is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    Reads,
    Writes,
}

/// A stream of bytes to a target.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Where a target is.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Place {
    /// Of a connection with the fields `host` and `port`.
    pub(crate) fn of(connection: &Connection) -> Self {
        Self::new(connection.text("host").unwrap_or_default(), connection.port())
    }

    /// An address of the sixth version may stand in brackets.
    pub(crate) fn new(host: &str, port: u16) -> Self {
        let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        Self { host: host.to_owned(), port }
    }

    /// Connects to the first of its addresses that answers.
    pub(crate) async fn dial(&self, network: &dyn Network) -> Result<TcpStream, Failure> {
        let dial = async {
            let addresses = network.resolve(&self.host, self.port).await?;
            let mut last = None;
            for address in addresses {
                match TcpStream::connect(address).await {
                    Ok(stream) => {
                        // Requests are small, and each waits for its answer.
                        let _ = stream.set_nodelay(true);
                        return Ok(stream);
                    }
                    Err(error) => last = Some(error.kind()),
                }
            }
            Err(self.unreachable(last.map_or("it has no address", reason)))
        };
        timeout(CONNECT, dial).await.unwrap_or_else(|_| Err(self.unreachable("it does not answer")))
    }

    pub(crate) fn unreachable(&self, why: &str) -> Failure {
        Failure::unreachable(format!("{self} can't be reached: {why}"))
    }

    /// No answer in time.
    pub(crate) fn silent(&self, effect: Effect) -> Failure {
        match effect {
            Effect::Reads => self.unreachable("it does not answer"),
            Effect::Writes => Failure::unclear(format!("{self} did not answer in time")),
        }
    }

    /// The connection is gone before the answer is there.
    pub(crate) fn broken(&self, effect: Effect) -> Failure {
        match effect {
            Effect::Reads => self.unreachable("the connection broke"),
            Effect::Writes => Failure::unclear(format!("the connection to {self} broke before it answered")),
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Why a connection did not come about.
pub(crate) fn reason(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::ConnectionRefused => "nothing listens there",
        ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::BrokenPipe
        | ErrorKind::UnexpectedEof => "it closed the connection",
        ErrorKind::TimedOut => "it does not answer",
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => "there is no route to it",
        _ => "the connection failed",
    }
}

/// What a connection says about TLS.
#[derive(Debug, Clone)]
pub(crate) struct Tls {
    pub(crate) enabled: bool,
    /// Whether the target must prove who it is.
    pub(crate) verify: bool,
    /// Authorities, in PEM. They alone are believed if there are any.
    pub(crate) authorities: Option<String>,
}

impl Tls {
    /// Of a connection whose fields begin with `ssl` or `tls`.
    pub(crate) fn of(connection: &Connection, prefix: &str) -> Self {
        let flag = |name: &str| connection.flag(&format!("{prefix}{name}"));
        Self {
            enabled: flag("Enabled").unwrap_or(true),
            verify: flag("RejectUnauthorized").unwrap_or(true),
            authorities: connection.text(&format!("{prefix}Certificate")).map(ToOwned::to_owned),
        }
    }

    /// For the handshake.
    pub(crate) fn config(&self) -> Result<Arc<ClientConfig>, Failure> {
        let provider = Arc::new(ring::default_provider());
        let builder =
            ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
        let builder = builder.map_err(|_| Failure::refused("TLS can't be set up"))?;
        if !self.verify {
            let verifier = Arc::new(Anybody(provider));
            return Ok(Arc::new(
                builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth(),
            ));
        }
        let mut roots = RootCertStore::empty();
        match &self.authorities {
            Some(pem) => {
                for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                    let added = certificate.ok().is_some_and(|certificate| roots.add(certificate).is_ok());
                    if !added {
                        return Err(Failure::refused(
                            "the CA certificate of the connection can't be read: give it in PEM",
                        ));
                    }
                }
            }
            None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        }
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
        let verifier =
            verifier.map_err(|_| Failure::refused("the CA certificate of the connection can't be used"))?;
        Ok(Arc::new(builder.with_webpki_verifier(verifier).with_no_client_auth()))
    }

    /// Does the handshake, if there is to be one.
    pub(crate) async fn wrap<S: Stream + 'static>(
        &self,
        place: &Place,
        stream: S,
    ) -> Result<Box<dyn Stream>, Failure> {
        if !self.enabled {
            return Ok(Box::new(stream));
        }
        let name = ServerName::try_from(place.host.clone()).map_err(|_| {
            Failure::refused(format!("{} is no name that a certificate can have", place.host))
        })?;
        let connector = TlsConnector::from(self.config()?);
        match timeout(CONNECT, connector.connect(name, stream)).await {
            Ok(Ok(stream)) => Ok(Box::new(stream)),
            Ok(Err(error)) => Err(tls_failure(place, &error)),
            Err(_) => Err(place.unreachable("it does not answer to TLS")),
        }
    }
}

/// Why a handshake failed; nothing was asked of the target yet.
pub(crate) fn tls_failure(place: &Place, error: &std::io::Error) -> Failure {
    use rustls::{CertificateError, Error};
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
        return place.unreachable(reason(error.kind()));
    };
    let why = match tls {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "its certificate is of an authority that is not believed; give its CA certificate in the connection"
        }
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "its certificate is for another name; connect by a name that stands in it",
        Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            "its certificate has expired"
        }
        Error::InvalidCertificate(_) => "its certificate is not valid",
        Error::InvalidMessage(_) => "it does not speak TLS there",
        _ => "TLS could not be agreed on",
    };
    Failure::refused(format!("{place} is not trusted: {why}"))
}

/// Takes every certificate, since the user said so; still only from whoever has its key.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
