//! What is to be done after the files are there.

use std::fmt::Write as _;
use std::path::Path;

use crate::log4net::{Service, Target};
use crate::new_files::shown;
use crate::qlik::Node;

/// What the text is about.
pub(super) struct Situation<'a> {
    /// Where the files are.
    pub(super) out: &'a Path,
    /// All files, below that folder.
    pub(super) written: Vec<&'a Path>,
    pub(super) config: &'a Path,
    /// The file for the scheduler's nodes.
    pub(super) appenders: &'a Path,
    pub(super) central: &'a str,
    /// None: nobody knows which there are.
    pub(super) nodes: &'a [Node],
    pub(super) target: &'a Target,
    pub(super) repository_port: u16,
    pub(super) instance: &'a str,
}

/// The service whose log appenders are set up: it alone tells of tasks.
pub(super) const SERVICE: Service = Service::Scheduler;

impl Situation<'_> {
    /// The text for whoever sets Butler up.
    pub(super) fn text(&self) -> String {
        let Self { target, central, repository_port, instance, .. } = self;
        let mut text = String::new();
        for path in &self.written {
            let _ = writeln!(text, "written  {}", shown(self.out, path).display());
        }
        let config = shown(self.out, self.config);
        let config = config.display();
        let mut schedulers: Vec<&str> =
            self.nodes.iter().filter(|node| node.scheduler).map(|node| &*node.host).collect();
        if schedulers.is_empty() {
            schedulers.push(central);
        }
        let place = format!(r"C:\ProgramData\Qlik\Sense\{}\LocalLogConfig.xml", SERVICE.folder());
        let _ = write!(text, "\n1. Let Qlik Sense send. Copy {} to\n", shown(self.out, self.appenders).display());
        let widest = schedulers.iter().map(|host| host.len()).max().unwrap_or_default();
        for host in &schedulers {
            let _ = writeln!(text, "     {host:<widest$}  {place}");
        }
        if self.nodes.is_empty() {
            text.push_str("   and to the same place on every other node that runs the scheduler.\n");
        }
        let service = SERVICE.folder().to_lowercase();
        let _ = write!(
            text,
            "   If a node has such a file already, keep what is in it:\n     \
             butler log-appender --service {service} --to {target} --merge LocalLogConfig.xml > new.xml\n   \
             (in PowerShell: cmd /c \"butler … > new.xml\"). The service reads the file within minutes, or when it is restarted.\n\
             \n2. Open the firewalls:\n     \
             UDP {udp}  from {from} to {here}\n     \
             TCP {repository_port}  from {here} to {central}\n     \
             TCP 4747  from {here} to {central}, if load scripts ask for lists, dumps or reloads of apps\n     \
             TCP 9032  from {here} to {central}, for the version of Qlik Sense\n\
             \n3. See that it works:\n     \
             butler doctor -c {config}\n     \
             butler run -c {config}\n     \
             butler doctor -c {config} --end-to-end\n     \
             butler test-alert -c {config} --instance {instance}\n",
            udp = target.port(),
            from = if self.nodes.is_empty() {
                "every node that runs the scheduler".to_owned()
            } else {
                schedulers.join(", ")
            },
            here = target.host(),
        );
        text
    }
}
