use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;

use super::*;

const MEGABYTE: usize = 1 << 20;

/// A client and a server end of one connection.
fn connected(listener: &TcpListener) -> (TcpStream, TcpStream) {
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    (client, server)
}

/// The client sends `sent` bytes and the server answers with as many; both have been received on return.
fn exchange(client: &mut TcpStream, server: &mut TcpStream, bytes: usize) {
    let mut buffer = vec![0; MEGABYTE];
    let mut rest = bytes;
    while rest > 0 {
        let part = rest.min(64 << 10); // fits into the socket's buffer: one thread plays both ends
        let part_buffer = &mut buffer[..part];
        client.write_all(part_buffer).unwrap();
        server.read_exact(part_buffer).unwrap();
        server.write_all(part_buffer).unwrap();
        client.read_exact(part_buffer).unwrap();
        rest -= part;
    }
}

fn usage(statistics: &mut SocketStatistics, port: u16) -> PortUsage {
    statistics.read(&[&[port]]).unwrap().remove(0)
}

fn bytes(usage: &PortUsage) -> u64 {
    usage.network.clone().unwrap().bytes
}

/// Reads until the connections are as many as expected; announcements and states lag a little behind the sockets.
async fn usage_once(
    statistics: &mut SocketStatistics,
    port: u16,
    reached: impl Fn(&PortUsage) -> bool,
) -> PortUsage {
    let mut last = usage(statistics, port);
    let waiting = async {
        while !reached(&last) {
            tokio::time::sleep(Duration::from_millis(1)).await;
            last = usage(statistics, port);
        }
    };
    assert!(
        tokio::time::timeout(Duration::from_secs(10), waiting)
            .await
            .is_ok(),
        "last seen: {last:?}"
    );
    last
}

#[tokio::test]
async fn bytes_of_open_and_closed_connections_are_exact_within_a_percent() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let Ok(listener) = TcpListener::bind(address) else {
            println!("skipped: {address} cannot be used here");
            continue;
        };
        let port = listener.local_addr().unwrap().port();
        let mut statistics = SocketStatistics::open(OwnConnections::default()).unwrap();
        let (mut client, mut server) = connected(&listener);
        exchange(&mut client, &mut server, 10_000);
        let start = usage(&mut statistics, port);
        assert_eq!(start.connections, 1);

        exchange(&mut client, &mut server, 5 * MEGABYTE);
        // One that is born and gone before the next look, and one that was seen before and is gone by then.
        for shutdown in [Shutdown::Both, Shutdown::Write] {
            let (mut short_client, mut short_server) = connected(&listener);
            exchange(&mut short_client, &mut short_server, 2 * MEGABYTE);
            short_server.shutdown(shutdown).unwrap();
        }
        drop((client, server));

        let expected = u64::try_from(2 * 9 * MEGABYTE).unwrap();
        let end = usage_once(&mut statistics, port, |usage| {
            usage.connections == 0 && bytes(usage) - bytes(&start) >= expected
        })
        .await;
        assert!(
            bytes(&end) - bytes(&start) <= expected + expected / 100,
            "{address}: {start:?} {end:?}, expected {expected}"
        );
        assert_eq!(end.network.unwrap().epoch, start.network.unwrap().epoch);
    }
}

#[tokio::test]
async fn connections_are_exact_and_those_of_clnrm_itself_are_left_out() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let own = OwnConnections::default();
    let mut statistics = SocketStatistics::open(own.clone()).unwrap();
    let mut clients: Vec<_> = (0..25).map(|_| connected(&listener)).collect();
    let mut own_client = tokio::net::TcpStream::connect(address).await.unwrap();
    own.add(&own_client);
    tokio::io::AsyncWriteExt::write_all(&mut own_client, &[0; 5_000])
        .await
        .unwrap();

    let before = usage_once(&mut statistics, address.port(), |usage| {
        usage.connections == 25
    })
    .await;
    clients.truncate(7);
    drop(own_client);
    let after = usage_once(&mut statistics, address.port(), |usage| {
        usage.connections == 7
    })
    .await;
    // Handshakes and ends count as one byte each, the 5000 bytes of our own not at all.
    assert!(bytes(&after) - bytes(&before) < 100, "{before:?} {after:?}");
}

#[test]
fn lost_announcements_start_another_epoch() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut statistics = SocketStatistics::open(OwnConnections::default()).unwrap();
    let before = usage(&mut statistics, port).network.unwrap();
    {
        // Nobody can empty the socket while the lock is held, and more connections close than fit into it.
        let watch = lock(&statistics.watch);
        let socket = watch.announcements.as_ref().unwrap();
        socket.set_rx_buf_sz(4_096).unwrap();
        for _ in 0..100 {
            drop(connected(&listener));
        }
        let ten_seconds = Timespec {
            tv_sec: 10,
            tv_nsec: 0,
        };
        let mut errors_only = [PollFd::new(socket, PollFlags::empty())];
        assert_eq!(event::poll(&mut errors_only, Some(&ten_seconds)), Ok(1));
    }
    let after = usage(&mut statistics, port).network.unwrap();
    assert_ne!(before.epoch, after.epoch);
}
