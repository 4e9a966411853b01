//! Whether a container listens on a port of its own.
//!
//! Connecting to the published port would not tell: Docker's proxy accepts there from the moment the container is
//! started, and hangs up when nobody listens inside.

use std::fs;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// `LISTEN` in `/proc/net/tcp`.
const LISTEN: &str = "0A";
/// A connection that the proxy cannot pass on is closed well within this.
const HANG_UP: Duration = Duration::from_millis(100);

/// One look: into the container's own socket table where this machine has it, else through the published port.
pub(super) async fn look(main_pid: Option<i32>, port: u16, address: &str) -> Result<(), String> {
    let tables = main_pid.and_then(socket_tables);
    match tables.map(|tables| listener(&tables, port)) {
        Some(Some(Listener::Reachable)) => Ok(()),
        Some(Some(Listener::Loopback)) => Err(format!(
            "what listens on port {port} inside does so on its own 127.0.0.1 only, and must on 0.0.0.0"
        )),
        Some(None) => Err(format!("nothing listens on port {port} inside")),
        None => stays_connected(address).await,
    }
}

fn socket_tables(pid: i32) -> Option<String> {
    let table = |name: &str| fs::read_to_string(format!("/proc/{pid}/net/{name}"));
    let tcp = table("tcp").ok()?;
    // Absent where IPv6 is switched off.
    Some(tcp + &table("tcp6").unwrap_or_default())
}

/// What listens on a port, where more than one does the most open of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Listener {
    Loopback,
    Reachable,
}

/// Lines of `/proc/net/tcp`: `sl local_address rem_address st …`, the port in hexadecimal after the last colon.
fn listener(tables: &str, port: u16) -> Option<Listener> {
    let listeners = tables.lines().filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (ip, hex) = fields.next()?.rsplit_once(':')?;
        let is_listener = fields.nth(1) == Some(LISTEN);
        (is_listener && u16::from_str_radix(hex, 16) == Ok(port)).then(|| {
            if is_loopback(ip) {
                Listener::Loopback
            } else {
                Listener::Reachable
            }
        })
    });
    listeners.max()
}

/// What listens on its own loopback cannot be reached from here.
fn is_loopback(ip: &str) -> bool {
    ip == "0100007F" || ip == "00000000000000000000000001000000"
}

async fn stays_connected(address: &str) -> Result<(), String> {
    let connecting = |error| format!("connecting to {address}: {error}");
    let mut stream = TcpStream::connect(address).await.map_err(connecting)?;
    let mut byte = [0];
    match timeout(HANG_UP, stream.read(&mut byte)).await {
        Ok(Ok(0)) => Err(format!("{address} hangs up: nothing listens inside yet")),
        Ok(Err(error)) => Err(connecting(error)),
        Ok(Ok(_)) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::net::TcpListener;

    use super::*;

    const TABLE: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt
   0: 00000000:18EB 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 0100007F:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   2: 0200A8C0:1F90 0300A8C0:C350 01 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
";

    #[test]
    fn only_a_listener_that_can_be_reached_counts() {
        assert_eq!(listener(TABLE, 6379), Some(Listener::Reachable));
        assert_eq!(listener(TABLE, 80), Some(Listener::Loopback));
        assert_eq!(listener(TABLE, 8080), None, "an established connection");
    }

    #[tokio::test]
    async fn own_sockets_are_found_and_a_proxy_that_hangs_up_is_not_ready() {
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let own = i32::try_from(std::process::id()).unwrap();
        look(Some(own), port, "").await.unwrap();
        let address = format!("127.0.0.1:{port}");
        let hangs_up = tokio::spawn(async move { drop(listener.accept().await.unwrap()) });
        assert!(look(None, port, &address).await.is_err());
        hangs_up.await.unwrap();
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "\\PC{0,200}", port: u16) {
            listener(&text, port);
        }
    }
}
