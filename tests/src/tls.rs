//! TLS as a stranger would speak it: clients with any certificate or none, and certificates that are wrong on purpose.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion, version};

use crate::wait::SOON;

/// An encrypted connection.
pub type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// A certificate and its key, in PEM.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

/// What a certificate is about.
#[derive(Clone, Debug)]
pub struct Wish<'a> {
    /// Its URI names, such as `hume://hume/agent/…`.
    pub uris: &'a [&'a str],
    /// First and last year of its validity.
    pub years: (i32, i32),
}

impl Pair {
    /// A CA of its own, with the given common name.
    pub fn authority(name: &str) -> Pair {
        let key = KeyPair::generate().expect("a key can be made");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.subject_alt_names.push(uri("hume://hume"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("a CA can sign itself");
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    /// A client certificate that this CA issues.
    #[must_use]
    pub fn issue(&self, wish: &Wish<'_>) -> Pair {
        let ca_key = KeyPair::from_pem(&self.key).expect("it is a key");
        let issuer = Issuer::from_ca_cert_pem(&self.certificate, ca_key).expect("it is a CA");
        let key = KeyPair::generate().expect("a key can be made");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "stranger");
        params.subject_alt_names = wish.uris.iter().map(|text| uri(text)).collect();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = rcgen::date_time_ymd(wish.years.0, 1, 1);
        params.not_after = rcgen::date_time_ymd(wish.years.1, 12, 31);
        let certificate = params.signed_by(&key, &issuer).expect("a CA can sign");
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.to_owned().try_into().expect("a URI is ASCII"))
}

/// A client of the HTTPS port that trusts this CA.
pub fn https(ca: &str) -> Arc<ClientConfig> {
    let mut config = builder(ca, &[&version::TLS13]).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

/// A client of the HTTPS port that trusts this CA and shows this certificate with its chain.
pub fn web(ca: &str, shown: &Pair) -> Arc<ClientConfig> {
    with_chain(ca, shown, &version::TLS13, b"http/1.1")
}

/// A client that trusts this CA, shows this certificate with its chain, and speaks this protocol.
pub fn with_chain(
    ca: &str,
    shown: &Pair,
    version: &'static SupportedProtocolVersion,
    protocol: &[u8],
) -> Arc<ClientConfig> {
    let chain = CertificateDer::pem_slice_iter(shown.certificate.as_bytes());
    let chain = chain.collect::<Result<Vec<_>, _>>().expect("it is PEM");
    let key = PrivateKeyDer::from_pem_slice(shown.key.as_bytes()).expect("it is PEM");
    let config = builder(ca, &[version]).with_client_auth_cert(chain, key);
    let mut config = config.expect("the key is that of the certificate");
    config.alpn_protocols = vec![protocol.to_vec()];
    Arc::new(config)
}

/// A client of the relay port that trusts this CA and shows this certificate, or none.
pub fn relay(
    ca: &str,
    shown: Option<&Pair>,
    version: &'static SupportedProtocolVersion,
) -> Arc<ClientConfig> {
    client(ca, shown, version, b"h2")
}

/// The same, of any port: it offers this protocol.
pub fn client(
    ca: &str,
    shown: Option<&Pair>,
    version: &'static SupportedProtocolVersion,
    protocol: &[u8],
) -> Arc<ClientConfig> {
    let builder = builder(ca, &[version]);
    let mut config = match shown {
        Some(pair) => {
            let chain = CertificateDer::pem_slice_iter(pair.certificate.as_bytes());
            let chain = chain.collect::<Result<_, _>>().expect("it is PEM");
            let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("it is PEM");
            builder.with_client_auth_cert(chain, key).expect("the key is that of the certificate")
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![protocol.to_vec()];
    Arc::new(config)
}

fn builder(
    ca: &str,
    versions: &[&'static SupportedProtocolVersion],
) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(ca.as_bytes()).expect("it is PEM"))
        .expect("a CA can be trusted");
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_protocol_versions(versions)
        .expect("the provider knows TLS")
        .with_root_certificates(roots)
}

/// A stream that is encrypted as soon as it is used.
///
/// # Errors
/// Those of the socket.
pub fn connect(stream: TcpStream, config: Arc<ClientConfig>) -> io::Result<TlsStream> {
    stream.set_read_timeout(Some(SOON))?;
    stream.set_write_timeout(Some(SOON))?;
    let name = ServerName::try_from("localhost").expect("it is a name");
    let client = ClientConnection::new(config, name).map_err(io::Error::other)?;
    Ok(StreamOwned::new(client, stream))
}

/// An encrypted stream whose handshake is done, as far as this end can tell.
///
/// # Errors
/// Those of the socket and of TLS.
pub fn shake_hands(stream: TcpStream, config: Arc<ClientConfig>) -> io::Result<TlsStream> {
    let mut stream = connect(stream, config)?;
    stream.conn.complete_io(&mut stream.sock)?;
    Ok(stream)
}

/// The first words of a handshake, as bytes.
pub fn first_words(config: Arc<ClientConfig>) -> Vec<u8> {
    let name = ServerName::try_from("localhost").expect("it is a name");
    let mut client = ClientConnection::new(config, name).expect("a client can be made");
    let mut words = Vec::new();
    client.write_tls(&mut words).expect("a vector takes everything");
    words
}

/// Knocks at the relay port and listens for what comes back: none if the server kept talking HTTP/2, else how it
/// ended the connection.
pub fn knock(address: SocketAddr, config: Arc<ClientConfig>) -> Option<String> {
    let knocked = || -> io::Result<usize> {
        let mut stream = connect(TcpStream::connect(address)?, config)?;
        // The preface of HTTP/2 and an empty SETTINGS frame: a server that lets us in answers with its own.
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")?;
        stream.flush()?;
        let mut first = [0_u8; 9];
        stream.read(&mut first)
    };
    match knocked() {
        Ok(0) => Some("the server closed the connection".to_owned()),
        Ok(_) => None,
        Err(error) => Some(error.to_string()),
    }
}

/// SHA-256 of the certificate that a port shows to whoever trusts its CA, in hex.
///
/// # Errors
/// Those of the socket and of the handshake.
pub fn shown_at(address: SocketAddr, config: Arc<ClientConfig>) -> io::Result<String> {
    let mut stream = connect(TcpStream::connect(address)?, config)?;
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    let shown = stream.conn.peer_certificates().and_then(|chain| chain.first());
    Ok(hume_runtime::tls::fingerprint(shown.expect("a server shows a certificate")))
}
