//! A stack without a thread, with a clock under the test's control.

use super::*;

pub(super) struct Clocked {
    pub(super) worker: Worker,
    link: UnixStream,
    pub(super) now: Instant,
    pub(super) guest: SocketAddr,
    pub(super) remote: SocketAddr,
}

impl Clocked {
    pub(super) fn new(network: Network) -> Self {
        let (ours, link) = UnixStream::pair().unwrap();
        link.set_nonblocking(true).unwrap();
        let addresses = Pools::default().addresses(7).unwrap();
        let settings = Settings {
            addresses,
            mtu: 1500,
            network,
            proxy_password: None,
            ports: Vec::new(),
            peers: None,
            interception: None,
            counters: Arc::default(),
            on_refusal: Box::new(|_| ()),
            on_allowed: Box::new(|_| ()),
            on_failure: Box::new(|_| ()),
        };
        let wake = Arc::new(eventfd(0, EventfdFlags::NONBLOCK).unwrap());
        let worker = Worker::new(ours.into(), settings, mpsc::channel().0, wake).unwrap();
        let guest = SocketAddr::new(addresses.guest_ipv4.into(), 2000);
        let remote = SocketAddr::new(addresses.gateway_ipv4.into(), 0);
        Self { worker, link, now: Instant::now(), guest, remote }
    }

    pub(super) fn turn(&mut self) {
        self.worker.poll(self.now).unwrap();
        self.worker.wait(Duration::from_millis(1)).unwrap();
        self.worker.poll(self.now).unwrap();
    }

    pub(super) fn syn(&mut self) {
        let frame = tcp_frame(self.guest, self.remote, TcpControl::Syn, (1000, None));
        self.send_frame(&frame);
    }

    pub(super) fn send_frame(&mut self, frame: &[u8]) {
        let length = u32::try_from(frame.len()).unwrap().to_be_bytes();
        self.link.write_all(&[&length[..], frame].concat()).unwrap();
    }

    /// The TCP and UDP packets that the guest has received.
    pub(super) fn segments(&mut self) -> Vec<Vec<u8>> {
        let mut segments = Vec::new();
        let mut length = [0; 4];
        while self.link.read_exact(&mut length).is_ok() {
            let mut frame = vec![0; u32::from_be_bytes(length) as usize];
            self.link.read_exact(&mut frame).unwrap();
            let Frame::Ip(packet) = wire::read_frame(&frame) else { continue };
            let tcp = packet.tcp().map(|segment| (segment.src_port(), segment.dst_port()));
            let udp = || packet.udp().map(|datagram| (datagram.src_port(), datagram.dst_port()));
            let Some((from, to)) = tcp.or_else(udp) else { continue };
            (self.remote, self.guest) =
                (SocketAddr::new(packet.source, from), SocketAddr::new(packet.target, to));
            segments.push(packet.payload.to_vec());
        }
        segments
    }

    /// The first received segment.
    pub(super) fn first(&mut self) -> Vec<u8> {
        let began = Instant::now();
        loop {
            self.turn();
            if let Some(segment) = self.segments().pop() {
                return segment;
            }
            assert!(began.elapsed() < TIMEOUT, "nothing comes");
        }
    }
}
