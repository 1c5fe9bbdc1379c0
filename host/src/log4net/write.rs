//! The elements of the file, written by us.

use super::appenders::{Appender, Service, Target};

/// A whole file for a service whose log lines are to be sent to `target`.
pub fn document(service: Service, target: &Target) -> String {
    let folder = service.folder();
    let appenders = service.appenders().iter().map(|one| appender(one, target));
    let loggers = loggers(service).into_iter().map(|(name, references)| logger(name, &references));
    let elements = appenders.chain(loggers).collect::<Vec<_>>().join("\n\n  ");
    format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n\
         <!--\n\
         \x20 Tells Butler by UDP what the {} service of Qlik Sense does; written by its command log-appender.\n\n\
         \x20 To be put on every node that runs the service, as\n\
         \x20 C:\\ProgramData\\Qlik\\Sense\\{folder}\\LocalLogConfig.xml\n\
         \x20 If other tools have such a file there already, merge this one into it (option merge of the command).\n\
         -->\n<configuration>\n\n  {elements}\n</configuration>\n",
        folder.to_lowercase()
    )
}

/// The loggers of a service with the names of the appenders that get their lines.
pub(super) fn loggers(service: Service) -> Vec<(&'static str, Vec<&'static str>)> {
    let mut loggers: Vec<(&str, Vec<&str>)> = Vec::new();
    for appender in service.appenders() {
        match loggers.iter_mut().find(|(name, _)| *name == appender.logger) {
            Some((_, references)) => references.push(appender.name),
            None => loggers.push((appender.logger, vec![appender.name])),
        }
    }
    loggers
}

/// An appender, its first line without indentation. Its texts are ours and hold nothing that XML would have escaped.
pub(super) fn appender(appender: &Appender, target: &Target) -> String {
    let Appender { name, about, texts, pattern, .. } = appender;
    let Target { host, port } = target;
    let filters: Vec<String> = texts
        .iter()
        .map(|matched| {
            format!(
                "    <filter type=\"log4net.Filter.StringMatchFilter\">\n\
                 \x20     <param name=\"stringToMatch\" value=\"{matched}\" />\n\
                 \x20   </filter>\n"
            )
        })
        .collect();
    let filters = filters.concat();
    format!(
        "<appender name=\"{name}\" type=\"log4net.Appender.UdpAppender\">\n\
         \x20   <!-- {about} -->\n{filters}\
         \x20   <filter type=\"log4net.Filter.DenyAllFilter\" />\n\
         \x20   <param name=\"remoteAddress\" value=\"{host}\" />\n\
         \x20   <param name=\"remotePort\" value=\"{port}\" />\n\
         \x20   <param name=\"encoding\" value=\"utf-8\" />\n\
         \x20   <layout type=\"log4net.Layout.PatternLayout\">\n\
         \x20     <converter>\n\
         \x20       <param name=\"name\" value=\"hostname\" />\n\
         \x20       <param name=\"type\" value=\"Qlik.Sense.Logging.log4net.Layout.Pattern.HostNamePatternConverter\" />\n\
         \x20     </converter>\n\
         \x20     <param name=\"conversionpattern\" value=\"{pattern}\" />\n\
         \x20   </layout>\n\
         \x20 </appender>"
    )
}

/// A logger, its first line without indentation.
pub(super) fn logger(name: &str, references: &[&str]) -> String {
    let references: Vec<String> = references.iter().map(|name| reference(name)).collect();
    format!("<logger name=\"{name}\">\n    {}\n  </logger>", references.join("\n    "))
}

/// A reference to an appender.
pub(super) fn reference(appender: &str) -> String {
    format!("<appender-ref ref=\"{appender}\" />")
}
