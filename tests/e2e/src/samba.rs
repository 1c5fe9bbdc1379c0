//! A real Samba server on loopback, whose service control manager is asked as that of Windows is. It offers `Spooler` and
//! `RemoteRegistry`, which run, and `NETLOGON` and `WINS`, which are stopped.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::wait_for;

/// Where Samba has its server for calls like those for services.
const RPC_SERVER: &str = "/usr/libexec/samba/samba-dcerpcd";

/// How long it may take to start, and one of its answers; a second does.
const LONGEST_START: Duration = Duration::from_secs(30);
const LONGEST_CALL: Duration = Duration::from_secs(20);

/// A server of its own folder and port, at one address alone. It is killed when it is dropped.
pub struct Samba {
    folder: TempDir,
    port: u16,
    /// `smbd`, which talks to clients, and the one that it hands calls to.
    running: Option<[Child; 2]>,
}

impl Samba {
    /// Its address: on loopback, but not the one that stands for this machine.
    pub const ADDRESS: &str = "127.0.0.2";
    /// Its administrator; Samba wants accounts to be some of the machine, too.
    pub const USER: &str = "root";
    /// Its other user, who gets in, but may not connect to what calls are made by.
    pub const STRANGER: &str = "nobody";
    /// The password of both.
    pub const PASSWORD: &str = "samba-pw";

    /// Starts one.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start() -> Self {
        let mut samba = Self { folder: TempDir::new().expect("a folder can be made"), port: 0, running: None };
        for name in ["private", "lock", "state", "cache", "pid", "ncalrpc", "log"] {
            fs::create_dir(samba.folder.path().join(name)).expect("the folder can be written");
        }
        // Somebody may take the port between the two.
        for _ in 0..5 {
            let free = TcpListener::bind((Self::ADDRESS, 0)).expect("loopback has a free port");
            samba.port = free.local_addr().expect("a socket has an address").port();
            drop(free);
            fs::write(samba.config(), config(samba.folder.path(), samba.port)).expect("the folder can be written");
            for user in [Self::USER, Self::STRANGER] {
                samba.add_user(user);
            }
            if samba.try_start().await {
                return samba;
            }
        }
        panic!("Samba does not start: {}", samba.log());
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Writes a credentials file that only its owner can read.
    ///
    /// # Panics
    /// When the folder cannot be written.
    pub fn write_credentials(file: &Path, user: &str, password: &str) {
        fs::write(file, format!("username = {user}\npassword = {password}\n")).expect("the folder can be written");
        fs::set_permissions(file, fs::Permissions::from_mode(0o600)).expect("the file is ours");
    }

    /// Starts or stops a service of it: `start`, `stop`. It can do so to `Spooler`.
    ///
    /// # Panics
    /// When it does not.
    pub async fn control(&self, order: &str, service: &str) {
        let said = self.net(order, service).await.expect("net is installed (tests/packages.txt), and gets an answer");
        assert!(said.status.success(), "{order} {service}: {said:?}");
    }

    /// Sets a text of a service in the server's registry: `DisplayName`, `ImagePath`.
    ///
    /// # Panics
    /// When it cannot be set.
    pub fn set(&self, service: &str, name: &str, value: &str) {
        let key = format!(r"HKLM\SYSTEM\CurrentControlSet\Services\{service}");
        let mut command = Command::new("net");
        command.args(["registry", "setvalue", &key, name, "sz", value]).arg(self.config_argument());
        let said = command.output().expect("net is installed (tests/packages.txt)");
        assert!(said.status.success(), "{name} of {service}: {said:?}");
    }

    /// Kills it (SIGKILL).
    pub fn kill(&mut self) {
        for mut child in self.running.take().into_iter().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it again at its port; its services are as in the beginning.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn restart(&mut self) {
        self.kill();
        let port = self.port;
        // What its children hold, they let go when they see that it is gone.
        wait_for("a port", || async { TcpListener::bind((Self::ADDRESS, port)).ok().map(drop) }).await;
        assert!(self.try_start().await, "Samba does not start again: {}", self.log());
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("smb.conf")
    }

    fn config_argument(&self) -> String {
        format!("--configfile={}", self.config().display())
    }

    fn add_user(&self, user: &str) {
        let mut command = Command::new("smbpasswd");
        command.arg("-c").arg(self.config()).args(["-s", "-a", user]);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
        let mut child = child.expect("smbpasswd is installed (tests/packages.txt)");
        let mut stdin = child.stdin.take().expect("it is piped");
        let password = Self::PASSWORD;
        write!(stdin, "{password}\n{password}\n").expect("it reads the password");
        drop(stdin);
        assert!(child.wait().expect("it ends").success(), "{user} is no user of Samba");
    }

    async fn try_start(&mut self) -> bool {
        let log = |name: &str| File::create(self.folder.path().join(name)).expect("the folder can be written");
        let spawn = |program: &str, arguments: &[&str], log: File| {
            let mut command = Command::new(program);
            command.args(arguments).args(["-F", "--no-process-group", "--debug-stdout"]).arg(self.config_argument());
            // Open as long as this process is there: they end with it.
            command.stdin(Stdio::piped()).stdout(log.try_clone().expect("a file can be shared")).stderr(log);
            // When it ends it ends its group, too.
            command.process_group(0);
            command.spawn().expect("samba is installed (tests/packages.txt)")
        };
        self.running =
            Some([spawn("smbd", &[], log("smbd.log")), spawn(RPC_SERVER, &["--libexec-rpcds"], log("rpc.log"))]);
        let start = Instant::now();
        loop {
            let children = self.running.as_mut().expect("they were started");
            if children.iter_mut().any(|child| !matches!(child.try_wait(), Ok(None))) {
                self.kill();
                return false;
            }
            let said = match TcpStream::connect((Self::ADDRESS, self.port)) {
                Ok(_) => self.net("status", "Spooler").await,
                Err(error) => Err(error),
            };
            match said {
                Ok(said) if said.status.success() => return true,
                said if start.elapsed() > LONGEST_START => {
                    panic!("Samba runs, but gives no answer within {LONGEST_START:?}: {said:?}\n{}", self.log())
                }
                _ => {}
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Asks or orders by Samba's own client.
    async fn net(&self, order: &str, service: &str) -> io::Result<Output> {
        let account = self.folder.path().join("account");
        Self::write_credentials(&account, Self::USER, Self::PASSWORD);
        let mut command = tokio::process::Command::new("net");
        command.args(["--configfile=/dev/null", "-S", Self::ADDRESS, "-p", &self.port.to_string(), "-A"]).arg(account);
        command.args(["rpc", "service", order, service]).env("LC_ALL", "C").stdin(Stdio::null()).kill_on_drop(true);
        tokio::time::timeout(LONGEST_CALL, command.output()).await?
    }

    fn log(&self) -> String {
        let read = |name: &str| fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
        ["smbd.log", "rpc.log"].map(read).concat()
    }
}

impl Drop for Samba {
    fn drop(&mut self) {
        self.kill();
    }
}

fn config(folder: &Path, port: u16) -> String {
    let (folder, user) = (folder.display(), Samba::USER);
    // One process for the calls: each would remember by itself which service was stopped.
    format!(
        "[global]
        server role = standalone server
        smb ports = {port}
        interfaces = 127.0.0.2/8
        bind interfaces only = yes
        disable netbios = yes
        netbios name = SENSE1
        workgroup = BUTLER
        passdb backend = tdbsam
        private dir = {folder}/private
        lock directory = {folder}/lock
        state directory = {folder}/state
        cache directory = {folder}/cache
        pid directory = {folder}/pid
        ncalrpc dir = {folder}/ncalrpc
        log file = {folder}/log/%m
        load printers = no
        printing = bsd
        printcap name = /dev/null
        rpc start on demand helpers = no
        rpcd_classic:num_workers = 1
        rpcd_classic:idle_seconds = 3600
        [IPC$]
        path = {folder}
        valid users = {user}
        "
    )
}
