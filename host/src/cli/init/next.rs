//! What is to be done after the files are there.

use std::fmt::Write as _;
use std::path::Path;

use crate::file_rights::{Platform, icacls};
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
    /// The private key.
    pub(super) key: &'a Path,
    /// The folder of the secrets, if there are any, below `out`.
    pub(super) secrets: Option<&'a Path>,
    pub(super) platform: Platform,
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
             TCP 9032  from {here} to {central}, for the version of Qlik Sense\n",
            udp = target.port(),
            from = if self.nodes.is_empty() {
                "every node that runs the scheduler".to_owned()
            } else {
                schedulers.join(", ")
            },
            here = target.host(),
        );
        let number = if self.platform == Platform::Windows { 4 } else { 3 };
        text.push_str(&self.rights());
        let _ = write!(
            text,
            "\n{number}. See that it works:\n     \
             butler doctor -c {config}\n     \
             butler run -c {config}\n     \
             butler doctor -c {config} --end-to-end\n     \
             butler test-alert -c {config} --instance {instance}\n",
        );
        text
    }

    /// The step that keeps others from secrets, where files are not their owner's alone from the beginning.
    fn rights(&self) -> String {
        if self.platform != Platform::Windows {
            return String::new();
        }
        let secrets = self.secrets.map(|folder| format!("     {}\n", icacls(&shown(self.out, folder), true)));
        format!(
            "\n3. Keep others from key and secrets: until then all may read them who may read the folder around them.\n{}     {}\n   \
             ACCOUNT is the one that Butler runs as.\n",
            secrets.unwrap_or_default(),
            icacls(self.key, false),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(platform: Platform, secrets: Option<&Path>) -> String {
        let situation = Situation {
            out: Path::new("new"),
            written: Vec::new(),
            config: Path::new("butler.yaml"),
            appenders: Path::new("LocalLogConfig.xml"),
            central: "sense1",
            nodes: &[],
            target: &"butler.lab:9998".parse().unwrap(),
            repository_port: 4242,
            instance: "teams",
            key: Path::new("client_key.pem"),
            secrets,
            platform,
        };
        situation.text()
    }

    #[test]
    fn on_windows_there_is_a_step_for_the_rights_of_files() {
        let secrets = Path::new("new").join("secrets");
        let folder = format!(
            "     icacls \"{}\" /inheritance:r /grant:r \"*S-1-5-18:(OI)(CI)F\" \"*S-1-5-32-544:(OI)(CI)F\" \
             \"ACCOUNT:(OI)(CI)R\"\n",
            secrets.display()
        );
        let key = "     icacls \"client_key.pem\" /inheritance:r /grant:r \"*S-1-5-18:F\" \"*S-1-5-32-544:F\" \"ACCOUNT:R\"\n";
        let windows = text(Platform::Windows, Some(Path::new("secrets")));
        let step =
            format!("around them.\n{folder}{key}   ACCOUNT is the one that Butler runs as.\n\n4. See that it works:\n");
        assert!(windows.contains("\n3. Keep others from key and secrets") && windows.contains(&step), "{windows}");
        let without = text(Platform::Windows, None);
        assert!(without.contains(key) && !without.contains("secrets\""), "{without}");
        let unix = text(Platform::Unix, Some(Path::new("secrets")));
        assert!(!unix.contains("icacls") && unix.contains("\n3. See that it works:\n"), "{unix}");
    }
}
