//! Whether a container listens on a port of its own.
//!
//! Connecting to the published port would not tell: Docker's proxy accepts there from the moment the container is
//! started, and hangs up when nobody listens inside.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::socket_table::{Listener, listeners};

/// A connection that the proxy cannot pass on is closed well within this.
const HANG_UP: Duration = Duration::from_millis(100);

/// A published port that takes no connection in this time is not there.
const REACHED_WITHIN: Duration = Duration::from_secs(3);

/// A port of a container, from inside.
#[derive(Debug, Clone, Copy)]
pub(super) struct Inside {
    /// The container's main process.
    pub(super) main_pid: Option<i32>,
    pub(super) port: u16,
    /// The container's address in the project's network.
    pub(super) ip: Option<IpAddr>,
}

/// Why nobody answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Deaf {
    /// Nothing listens there as it must, yet.
    Inside(String),
    /// It listens, but what the engine publishes is not there.
    Outside,
}

/// One look: into the container's own socket table where this machine has it, else through the published port.
pub(super) async fn look(inside: Inside, address: &str) -> Result<(), Deaf> {
    let Some(tables) = inside.main_pid.and_then(socket_tables) else {
        return stays_connected(address).await.map_err(Deaf::Inside);
    };
    is_open(inside, &tables).await.map_err(Deaf::Inside)?;
    // The engine's proxy, or the container itself, takes every connection by now.
    if is_reached(address).await {
        Ok(())
    } else {
        Err(Deaf::Outside)
    }
}

/// Whether somebody takes a connection there.
pub(super) async fn is_reached(address: &str) -> bool {
    let connecting = timeout(REACHED_WITHIN, TcpStream::connect(address));
    matches!(connecting.await, Ok(Ok(_connection)))
}

async fn is_open(inside: Inside, tables: &str) -> Result<(), String> {
    let port = inside.port;
    match reach(&listeners(tables, port)) {
        None => Err(format!("nothing listens on port {port} inside")),
        Some(Reach::Loopback) => Err(format!(
            "what listens on port {port} inside does so on its own 127.0.0.1 only, and must on 0.0.0.0"
        )),
        Some(Reach::PerhapsIpv6Only) if refuses(inside.ip, port).await => Err(format!(
            "what listens on port {port} inside does so on IPv6 only, and must on 0.0.0.0"
        )),
        Some(Reach::PerhapsIpv6Only | Reach::Everywhere) => Ok(()),
    }
}

fn socket_tables(pid: i32) -> Option<String> {
    let table = |name: &str| fs::read_to_string(format!("/proc/{pid}/net/{name}"));
    let tcp = table("tcp").ok()?;
    // Absent where IPv6 is switched off.
    Some(tcp + &table("tcp6").unwrap_or_default())
}

/// From where a port can be reached, the least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    Loopback,
    /// The table does not say whether a socket of IPv6 takes IPv4, too.
    PerhapsIpv6Only,
    Everywhere,
}

/// `None` = nothing listens. Where more than one does, the most open of them.
fn reach(listeners: &[Listener]) -> Option<Reach> {
    let reach = |listener: &Listener| match listener.ip {
        ip if ip.is_loopback() => Reach::Loopback,
        IpAddr::V6(_) => Reach::PerhapsIpv6Only,
        IpAddr::V4(_) => Reach::Everywhere,
    };
    listeners.iter().map(reach).max()
}

/// Whether nobody takes an IPv4 connection at the container's own address.
async fn refuses(ip: Option<IpAddr>, port: u16) -> bool {
    let Some(ip @ IpAddr::V4(_)) = ip else {
        return false;
    };
    let connecting = timeout(HANG_UP, TcpStream::connect((ip, port)));
    matches!(connecting.await, Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused)
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
    use std::net::Ipv4Addr;

    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn the_most_open_listener_counts() {
        let at = |ip: &str| Listener {
            ip: ip.parse().unwrap(),
            inode: 1,
        };
        assert_eq!(reach(&[]), None);
        for loopback in ["127.0.0.1", "127.0.0.11", "::1"] {
            assert_eq!(reach(&[at(loopback)]), Some(Reach::Loopback));
        }
        assert_eq!(reach(&[at("::"), at("::1")]), Some(Reach::PerhapsIpv6Only));
        for open in ["0.0.0.0", "172.17.0.2"] {
            assert_eq!(reach(&[at("::"), at(open)]), Some(Reach::Everywhere));
        }
    }

    #[tokio::test]
    async fn a_socket_of_ipv6_that_takes_no_ipv4_is_told() {
        let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
        let both = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let local = Some(Ipv4Addr::LOCALHOST.into());
        assert!(!refuses(local, port(&both)).await);
        let free = port(&both);
        drop(both);
        assert!(refuses(local, free).await);
        assert!(!refuses(None, free).await, "nobody was asked");
    }

    #[tokio::test]
    async fn own_sockets_are_found_and_a_proxy_that_hangs_up_is_not_ready() {
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let own = Inside {
            main_pid: i32::try_from(std::process::id()).ok(),
            port,
            ip: None,
        };
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let nobody = free.local_addr().unwrap().to_string();
        drop(free);
        assert_eq!(look(own, &nobody).await, Err(Deaf::Outside));
        let address = format!("127.0.0.1:{port}");
        look(own, &address).await.unwrap();
        listener.accept().await.unwrap();
        let elsewhere = Inside {
            main_pid: None,
            ..own
        };
        let hangs_up = tokio::spawn(async move { drop(listener.accept().await.unwrap()) });
        assert!(look(elsewhere, &address).await.is_err());
        hangs_up.await.unwrap();
    }
}
