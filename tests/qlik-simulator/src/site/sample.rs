//! Sites to begin with.

use super::execution::NODE;
use super::{App, CustomPropertyDefinition, Node, Scheduler, SchedulerKind, Site, Stream, Task, User};
use crate::ids;

/// Ready-made sites. The identifiers of their tasks, apps and users are the same in every process.
impl Site {
    /// The app *Order analysis* of [`Site::sample`], owned by a user with a mail address.
    pub const SAMPLE_APP: &str = "0b7c7e52-4d1e-4b0f-8f52-3a9f0d8a6c01";

    /// The app *Stock levels* of [`Site::sample`], owned by a user without mail address.
    pub const SAMPLE_APP_OF_MAILLESS_OWNER: &str = "0b7c7e52-4d1e-4b0f-8f52-3a9f0d8a6c02";

    /// The reload task of [`Site::SAMPLE_APP`], with the tag `nightly` and the custom property `taskGroup` = `sales`.
    pub const SAMPLE_RELOAD_TASK: &str = "5d2f9a10-7c3b-4e6a-9d41-6b1c2e3f4a01";

    /// The reload task of [`Site::SAMPLE_APP_OF_MAILLESS_OWNER`].
    pub const SAMPLE_RELOAD_TASK_OF_MAILLESS_OWNER: &str = "5d2f9a10-7c3b-4e6a-9d41-6b1c2e3f4a02";

    /// An external program task of [`Site::sample`].
    pub const SAMPLE_EXTERNAL_PROGRAM_TASK: &str = "5d2f9a10-7c3b-4e6a-9d41-6b1c2e3f4a03";

    /// A user synchronisation task of [`Site::sample`].
    pub const SAMPLE_USER_SYNC_TASK: &str = "5d2f9a10-7c3b-4e6a-9d41-6b1c2e3f4a04";

    /// A distribution task of [`Site::sample`].
    pub const SAMPLE_DISTRIBUTE_TASK: &str = "5d2f9a10-7c3b-4e6a-9d41-6b1c2e3f4a05";

    /// A preload task of [`Site::sample`].
    pub const SAMPLE_PRELOAD_TASK: &str = "5d2f9a10-7c3b-4e6a-9d41-6b1c2e3f4a06";

    /// A reload task of [`Site::sample`] that is disabled.
    pub const SAMPLE_DISABLED_TASK: &str = "5d2f9a10-7c3b-4e6a-9d41-6b1c2e3f4a07";

    /// A small site: three owners (one without mail address, one with two), three apps, two streams, and tasks of all
    /// types that have not run yet.
    pub fn sample() -> Self {
        let site = Self::empty();
        site.set_nodes([Node::central(NODE)]);
        site.set_schedulers([Scheduler::new(NODE, SchedulerKind::Both)]);
        let ann = site.add_user(named_user("ann", "Ann Berg").email("ann.berg@example.com"));
        let bo = site.add_user(named_user("bo", "Bo Lind"));
        let eva = User { roles: vec!["RootAdmin".to_owned()], ..named_user("eva", "Eva Åkesson") };
        let eva = site.add_user(eva.email("eva@example.com").email("eva.akesson@example.org"));

        let everyone = site.add_stream(named_stream("Everyone"));
        let finance = site.add_stream(named_stream("Finance"));

        site.add_custom_property(CustomPropertyDefinition {
            id: ids::derived("taskGroup", "custom property"),
            ..CustomPropertyDefinition::new("taskGroup", ["sales", "stock", "finance"])
        });
        site.add_app(
            App::new("Order analysis", ann)
                .id(Self::SAMPLE_APP)
                .stream(everyone)
                .tag("sales")
                .custom_property("department", "Sales")
                .description("Orders and deliveries by day"),
        );
        site.add_app(App::new("Stock levels", bo).id(Self::SAMPLE_APP_OF_MAILLESS_OWNER));
        let ledger = site.add_app(App::new("General ledger", eva).id(ids::derived("ledger", "app")).stream(finance));

        site.add_task(
            Task::reload("Reload order analysis", Self::SAMPLE_APP)
                .id(Self::SAMPLE_RELOAD_TASK)
                .tag("nightly")
                .custom_property("taskGroup", "sales"),
        );
        site.add_task(
            Task::reload("Reload stock levels", Self::SAMPLE_APP_OF_MAILLESS_OWNER)
                .id(Self::SAMPLE_RELOAD_TASK_OF_MAILLESS_OWNER)
                .custom_property("taskGroup", "stock"),
        );
        site.add_task(Task::external_program("Export prices").id(Self::SAMPLE_EXTERNAL_PROGRAM_TASK).tag("nightly"));
        site.add_task(Task::user_sync("Sync LAB users").id(Self::SAMPLE_USER_SYNC_TASK));
        site.add_task(Task::distribute("Distribute order analysis", Self::SAMPLE_APP).id(Self::SAMPLE_DISTRIBUTE_TASK));
        site.add_task(Task::preload("Preload order analysis", Self::SAMPLE_APP).id(Self::SAMPLE_PRELOAD_TASK));
        site.add_task(
            Task::reload("Reload general ledger (old)", ledger)
                .id(Self::SAMPLE_DISABLED_TASK)
                .disabled()
                .custom_property("taskGroup", "finance"),
        );
        site
    }

    /// The sample site with `count` further reload tasks, each with an app of its own. The identifiers of the tasks
    /// are those of [`Site::numbered_task`].
    pub fn with_tasks(count: usize) -> Self {
        let site = Self::sample();
        let owners: Vec<String> = site.read().users.iter().map(|user| user.id.clone()).collect();
        for number in 0..count {
            let owner = owners[number % owners.len()].clone();
            let app = App::new(format!("App {number}"), owner).id(ids::derived(&number.to_string(), "app"));
            let app = site.add_app(app);
            site.add_task(
                Task::reload(format!("Reload app {number}"), app).id(Self::numbered_task(number)).tag("numbered"),
            );
        }
        site
    }

    /// The identifier of a task that [`Site::with_tasks`] makes, counted from 0.
    pub fn numbered_task(number: usize) -> String {
        ids::derived(&number.to_string(), "task")
    }
}

fn named_user(user_id: &str, name: &str) -> User {
    User::new("LAB", user_id, name).id(ids::derived(user_id, "user"))
}

fn named_stream(name: &str) -> Stream {
    Stream { id: ids::derived(name, "stream"), name: name.to_owned() }
}
