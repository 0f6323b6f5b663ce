//! A broker behind a proxy that does harm to single requests, chosen by their kind.
//!
//! Kafka's frames are a length and as many bytes: a request begins with its kind, version and a number that its answer
//! repeats. Nothing else is read. The broker must tell clients that come this way to come back this way: it has a listener
//! whose advertised address is the proxy's.

use crate::Result;
use crate::fault::{Fault, Harm};
use distributary_runtime::time::monotonic;
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::spawn;
use std::time::Duration;

/// No frame of these tests is larger: a broken one is not taken for a length.
const FRAME_BYTES_MAX: usize = 100 << 20;
/// An answer is its number at least.
const FRAME_BYTES_MIN: usize = 4;
/// How long a request whose client has gone may wait for its answer, and how often it is looked for.
const ANSWER_MAX: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(2);

/// Where the proxy listens, and the listener of the broker that advertises this address.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// The proxy's own address.
    pub proxy: SocketAddr,
    /// The broker's.
    pub broker: SocketAddr,
}

impl FromStr for Route {
    type Err = String;

    /// `proxy=broker`, both `host:port`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (proxy, broker) = text.split_once('=').ok_or("expected `proxy=broker`, such as 127.0.0.1:9193=127.0.0.1:9192")?;
        let address = |text: &str| text.parse().map_err(|e| format!("{text}: {e}"));
        Ok(Self { proxy: address(proxy)?, broker: address(broker)? })
    }
}

/// A running proxy; it takes no more connections once it is dropped.
#[derive(Debug)]
pub struct Proxy {
    route: Route,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    armed: Mutex<Vec<Fault>>,
    struck: AtomicU64,
    away: AtomicBool,
    stop: AtomicBool,
}

impl Proxy {
    /// Starts listening.
    ///
    /// # Errors
    /// The address is taken.
    pub fn start(route: Route) -> Result<Self> {
        let listener = TcpListener::bind(route.proxy)?;
        let state = Arc::new(State::default());
        let of_thread = state.clone();
        spawn(move || {
            for client in listener.incoming().flatten() {
                if of_thread.stop.load(Ordering::SeqCst) {
                    return;
                }
                // A broker that does not answer is a connection that fails.
                let _ = connect(client, route.broker, &of_thread);
            }
        });
        Ok(Self { route, state })
    }

    /// Does this harm once, to the next request that it fits.
    pub fn arm(&self, fault: Fault) {
        lock(&self.state.armed).push(fault);
    }

    /// Takes back what has not struck yet.
    pub fn disarm(&self) {
        lock(&self.state.armed).clear();
    }

    /// How many faults have struck. One that holds something counts when the holding is over.
    #[must_use]
    pub fn struck(&self) -> u64 {
        self.state.struck.load(Ordering::SeqCst)
    }

    /// While the broker is away, nothing goes through in either direction and no new connection is answered.
    pub fn set_away(&self, away: bool) {
        self.state.away.store(away, Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::SeqCst);
        // Wakes the listening thread; if nobody listens any more, it has gone already.
        let _ = TcpStream::connect(self.route.proxy);
    }
}

/// A request that waits for its answer.
#[derive(Clone, Copy)]
enum Awaited {
    Forward,
    Delay(Duration),
    Cut,
    /// One more answer follows, for nobody.
    Twice,
    Nobody,
}

/// Both ends of a connection, and what stands out on it.
struct Link {
    client: TcpStream,
    broker: TcpStream,
    awaited: Mutex<BTreeMap<i32, Awaited>>,
    state: Arc<State>,
}

fn connect(client: TcpStream, broker: SocketAddr, state: &Arc<State>) -> io::Result<()> {
    let broker = TcpStream::connect(broker)?;
    client.set_nodelay(true)?;
    broker.set_nodelay(true)?;
    let link = Arc::new(Link { client, broker, awaited: Mutex::default(), state: state.clone() });
    for direction in [Link::requests, Link::answers] {
        let link = link.clone();
        spawn(move || {
            // However it ends, the client sees a connection that broke, and the broker one that closed.
            let _ = direction(&link);
            link.close();
        });
    }
    Ok(())
}

impl Link {
    fn requests(&self) -> io::Result<()> {
        while let Some(frame) = self.read(&self.client)? {
            let (kind, number) = (i16::from_be_bytes([frame[4], frame[5]]), number(&frame, 8));
            let fault = self.state.take(kind);
            let expect = |awaited| lock(&self.awaited).insert(number, awaited);
            match fault.map(|f| (f.harm, f.delay)) {
                None => _ = expect(Awaited::Forward),
                Some((Harm::DelayRequest, delay)) => {
                    hold(delay);
                    expect(Awaited::Forward);
                    self.state.strike();
                }
                Some((Harm::DelayAnswer, delay)) => _ = expect(Awaited::Delay(delay)),
                Some((Harm::CutBefore, _)) => {
                    self.state.strike();
                    return Ok(());
                }
                Some((Harm::CutBehind, _)) => _ = expect(Awaited::Cut),
                Some((Harm::Stray, delay)) => return self.stray(number, &frame, delay),
                Some((Harm::Twice, _)) => {
                    expect(Awaited::Twice);
                    (&self.broker).write_all(&frame)?;
                    self.state.strike();
                }
            }
            (&self.broker).write_all(&frame)?;
        }
        Ok(())
    }

    /// What the client has sent last is still under way when its connection has long gone.
    fn stray(&self, number: i32, frame: &[u8], delay: Duration) -> io::Result<()> {
        lock(&self.awaited).insert(number, Awaited::Nobody);
        self.client.shutdown(Shutdown::Both)?;
        hold(delay);
        (&self.broker).write_all(frame)?;
        let sent = monotonic();
        while lock(&self.awaited).contains_key(&number) && sent.elapsed() < ANSWER_MAX {
            std::thread::park_timeout(LOOK);
        }
        self.state.strike();
        Ok(())
    }

    fn answers(&self) -> io::Result<()> {
        while let Some(frame) = self.read(&self.broker)? {
            let number = number(&frame, 4);
            let awaited = lock(&self.awaited).remove(&number);
            match awaited {
                Some(Awaited::Forward) => {}
                Some(Awaited::Delay(delay)) => {
                    hold(delay);
                    self.state.strike();
                }
                Some(Awaited::Cut) => {
                    self.state.strike();
                    return Ok(());
                }
                Some(Awaited::Twice) => _ = lock(&self.awaited).insert(number, Awaited::Nobody),
                Some(Awaited::Nobody) | None => continue,
            }
            // A client that has gone does not stop what it has left under way.
            let _ = (&self.client).write_all(&frame);
        }
        Ok(())
    }

    /// The next frame with its length in front; `None` at the end.
    fn read(&self, mut from: &TcpStream) -> io::Result<Option<Vec<u8>>> {
        let mut length = [0; 4];
        match from.read_exact(&mut length) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            result => result?,
        }
        let bytes = u32::from_be_bytes(length) as usize;
        if !(FRAME_BYTES_MIN..=FRAME_BYTES_MAX).contains(&bytes) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut frame = vec![0; 4 + bytes];
        frame[..4].copy_from_slice(&length);
        from.read_exact(&mut frame[4..])?;
        while self.state.away.load(Ordering::SeqCst) {
            std::thread::park_timeout(LOOK);
        }
        Ok(Some(frame))
    }

    fn close(&self) {
        // Whoever is not there any more need not be told.
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.broker.shutdown(Shutdown::Both);
    }
}

impl State {
    /// The fault for a request of this kind, if there is one.
    fn take(&self, kind: i16) -> Option<Fault> {
        let mut armed = lock(&self.armed);
        let at = armed.iter().position(|fault| fault.kind as i16 == kind)?;
        match armed[at].spared.checked_sub(1) {
            Some(left) => {
                armed[at].spared = left;
                None
            }
            None => Some(armed.remove(at)),
        }
    }

    fn strike(&self) {
        self.struck.fetch_add(1, Ordering::SeqCst);
    }
}

/// The number that request and answer share.
fn number(frame: &[u8], at: usize) -> i32 {
    frame.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, i32::from_be_bytes)
}

/// Lets a time pass.
pub fn hold(delay: Duration) {
    let began = monotonic();
    while let Some(left) = delay.checked_sub(began.elapsed()).filter(|left| !left.is_zero()) {
        std::thread::park_timeout(left);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
