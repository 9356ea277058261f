//! The listeners' addresses: free, or taken by a gateway that runs. And the path of the hand-over.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use gateway_server::config::Loaded;

use super::finding::Findings;

/// A gateway answers its health at once.
const PATIENCE: Duration = Duration::from_secs(2);
/// Longest path of a Unix socket: `sun_path` less its end.
const LONGEST_SOCKET_PATH: usize = 107;

pub(super) fn look(loaded: &Loaded, findings: &mut Findings) {
    let listen = &loaded.settings.listen;
    port("listen.public_address", listen.public_address, "/v2/health/ready", findings);
    port("listen.admin_address", listen.admin_address, "/health/ready", findings);
    if let Some(path) = &listen.hand_over {
        hand_over(path, findings);
    }
}

fn port(check: &str, address: SocketAddr, health: &str, findings: &mut Findings) {
    if address.port() == 0 {
        return findings.ok(check, format!("{address}: any free port"));
    }
    let error = match TcpListener::bind(address) {
        Ok(_) => return findings.ok(check, format!("{address} is free")),
        Err(error) => error,
    };
    if error.kind() != std::io::ErrorKind::AddrInUse {
        let advice = "name an address of this host, and a port that this user may use";
        return findings.problem(check, format!("{address} cannot be used: {error}"), advice);
    }
    match ask(address, health) {
        Some(answer) if answer.contains("\"ready\":true") => {
            findings.ok(check, format!("{address} is taken by a gateway that is ready"));
        }
        Some(answer) if answer.contains("\"ready\":false") => findings.warning(
            check,
            format!(
                "{address} is taken by a gateway that is not ready: {}",
                answer.lines().last().unwrap_or_default()
            ),
            "see its log, and what else is said here",
        ),
        _ => findings.problem(
            check,
            format!("{address} is taken by something that is no gateway"),
            format!("find it with `ss -tlnp 'sport = :{}'`, or name another port", address.port()),
        ),
    }
}

/// A small answer, or nothing.
fn ask(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    stream.take(64 * 1024).read_to_end(&mut answer).ok()?;
    Some(String::from_utf8_lossy(&answer).into_owned())
}

fn hand_over(path: &Path, findings: &mut Findings) {
    const CHECK: &str = "listen.hand_over";
    let shown = path.display();
    // The process id is added while the socket is made.
    if path.as_os_str().len() + ".4194304".len() > LONGEST_SOCKET_PATH {
        return findings.problem(
            CHECK,
            format!("`{shown}` is too long for a socket"),
            "name a shorter path, below /run",
        );
    }
    match path.parent().filter(|folder| folder.is_dir()) {
        Some(_) => findings.ok(CHECK, format!("`{shown}`")),
        None => findings.problem(
            CHECK,
            format!("the folder of `{shown}` is not there"),
            "make it for the user that runs the gateway",
        ),
    }
}
