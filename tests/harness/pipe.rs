//! A way to a server that can be cut, or be made slow.

use crate::Result;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{park_timeout, spawn};
use std::time::Duration;

/// What a piece of data is read into.
const PIECE: usize = 1 << 16;
/// How often a connection looks whether the way is still open.
const LOOK: Duration = Duration::from_millis(100);

/// What becomes of what is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// It arrives.
    Open,
    /// Connections are closed, those that stand and those that come.
    Cut,
    /// Every answer takes so much longer.
    Slow(Duration),
}

/// A listener whose connections lead to a server.
#[derive(Debug)]
pub struct Pipe {
    address: SocketAddr,
    way: Arc<Mutex<Way>>,
}

impl Pipe {
    /// Listens on a free port of this machine.
    ///
    /// # Errors
    /// There is none.
    pub fn start(server: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let pipe = Self { address: listener.local_addr()?, way: Arc::new(Mutex::new(Way::Open)) };
        let way = pipe.way.clone();
        spawn(move || {
            for client in listener.incoming().flatten() {
                // Who is not let through sees a connection that ends.
                let _ = connect(&client, server, &way);
            }
        });
        Ok(pipe)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on.
    pub fn set(&self, way: Way) {
        *self.way.lock().unwrap_or_else(PoisonError::into_inner) = way;
    }
}

fn connect(client: &TcpStream, server: SocketAddr, way: &Arc<Mutex<Way>>) -> Result<()> {
    if now(way) == Way::Cut {
        client.shutdown(Shutdown::Both)?;
        return Ok(());
    }
    let server = TcpStream::connect(server)?;
    for (from, to, answers) in [(client, &server, false), (&server, client, true)] {
        let (mut from, mut to, way) = (from.try_clone()?, to.try_clone()?, way.clone());
        from.set_nodelay(true)?;
        from.set_read_timeout(Some(LOOK))?;
        spawn(move || {
            // However it ends, both sides end.
            let _ = carry(&mut from, &mut to, answers, &way);
            let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
        });
    }
    Ok(())
}

fn carry(from: &mut TcpStream, to: &mut TcpStream, answers: bool, way: &Mutex<Way>) -> std::io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        let read = match from.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => 0,
            Err(e) => return Err(e),
        };
        match now(way) {
            Way::Cut => return Ok(()),
            Way::Slow(by) if answers && read > 0 => park_timeout(by),
            Way::Slow(_) | Way::Open => {}
        }
        to.write_all(&piece[..read])?;
    }
}

fn now(way: &Mutex<Way>) -> Way {
    *way.lock().unwrap_or_else(PoisonError::into_inner)
}
