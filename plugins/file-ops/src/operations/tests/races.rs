//! What several do at the same time, and what ends under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

#[test]
fn of_two_that_copy_to_one_name_one_wins_whole() {
    let site = Arc::new(Site::new());
    let texts: Vec<String> = (0..4).map(|n| n.to_string().repeat(3_000_000)).collect();
    for (n, text) in texts.iter().enumerate() {
        site.write(&format!("in/{n}"), text);
    }
    for round in 0..5 {
        let target = format!("out/{round}");
        let copies: Vec<_> = (0..4)
            .map(|n| {
                let (site, target) = (site.clone(), target.clone());
                std::thread::spawn(move || {
                    let (from, to) = (site.at(&format!("in/{n}")), site.at(&target));
                    let operation = copy(&site.pairs(), &from, &to, KEEP).unwrap();
                    operation.perform(&format!(".butler-file-ops-{n}.part"), &Progress::default()).unwrap()
                })
            })
            .collect();
        let done: Vec<Done> = copies.into_iter().map(|copy| copy.join().unwrap()).collect();
        assert_eq!(done.iter().filter(|done| **done == Done::Done).count(), 1, "{done:?}");
        let winner = done.iter().position(|done| *done == Done::Done).unwrap();
        assert!(site.read(&target).as_ref() == Some(&texts[winner]), "round {round}");
    }
    assert_eq!(walk(&site.path("out")), ["0", "1", "2", "3", "4"]);
}

/// While somebody swaps names for links without pause, nothing comes out of the directory and nothing goes beyond it.
#[test]
fn names_that_are_swapped_for_links_lead_nowhere() {
    let site = Arc::new(Site::new());
    site.write("in/real/a", "open");
    site.write("in/real/sub/b", "open");
    fs::create_dir(site.path("out/real")).unwrap();
    for (folder, away) in [("in", "in/away"), ("out", "out/away")] {
        symlink(site.path("secret"), site.path(away)).unwrap();
        fs::create_dir(site.path(&format!("{folder}/keep"))).unwrap();
    }
    site.write("in/file", "open");
    symlink(site.path("secret/key"), site.path("in/link")).unwrap();
    let end = Arc::new(AtomicBool::new(false));
    let swapper = {
        let (site, end) = (site.clone(), end.clone());
        std::thread::spawn(move || {
            let swap = |a: &str, b: &str| {
                let _ = rustix::fs::renameat_with(
                    rustix::fs::CWD,
                    site.path(a),
                    rustix::fs::CWD,
                    site.path(b),
                    rustix::fs::RenameFlags::EXCHANGE,
                );
            };
            while !end.load(Ordering::Relaxed) {
                swap("in/real", "in/away");
                swap("out/real", "out/away");
                swap("in/file", "in/link");
            }
        })
    };
    let (mut through, mut kept_in) = (0, 0);
    let until = std::time::Instant::now() + Duration::from_secs(4);
    let mut number = 0;
    while std::time::Instant::now() < until || through == 0 || kept_in == 0 {
        assert!(std::time::Instant::now() < until + Duration::from_mins(1), "{through} went through, {kept_in} not");
        number += 1;
        let name = format!("out/real/{number}");
        let pairs = site.pairs();
        let copied = |from: &str, to: &str| {
            copy(&pairs, &site.at(from), &site.at(to), REPLACE).unwrap().perform(PART, &Progress::default())
        };
        let mut done = vec![copied("in/real/a", &name), copied("in/file", &name), copied("in/real/key", &name)];
        done.push(copied("in/real", &format!("{name}-tree")));
        done.push(
            moving(&pairs, &site.at("in/real/key"), &site.at("in/stolen"), true)
                .unwrap()
                .perform(PART, &Progress::default()),
        );
        done.push(
            deletion(&[site.at("out").into()], &site.at("out/real/key")).unwrap().perform(PART, &Progress::default()),
        );
        done.push(
            deletion(&[site.at("in").into()], &site.at("in/real/key")).unwrap().perform(PART, &Progress::default()),
        );
        done.push(
            creation(&[site.at("out").into()], &site.at(&name).join(&["d".to_owned()]))
                .unwrap()
                .perform(PART, &Progress::default()),
        );
        let moved = moving(&pairs, &site.at("in/file"), &site.at("in/moved"), true)
            .unwrap()
            .perform(PART, &Progress::default());
        if moved.is_ok() {
            assert!(fs::symlink_metadata(site.path("in/moved")).unwrap().is_file(), "a link was moved");
            site.write("in/file", "open");
        }
        through += done.iter().filter(|done| done.is_ok()).count();
        kept_in += done.iter().filter(|done| matches!(done, Err(Trouble::LeadsOut | Trouble::Refused(_)))).count();
        assert_eq!(walk(&site.path("secret")), ["key"]);
    }
    end.store(true, Ordering::Relaxed);
    swapper.join().unwrap();
    assert_eq!(site.read("secret/key").as_deref(), Some("secret"));
    for name in walk(&site.path("out")) {
        if fs::symlink_metadata(site.path("out").join(&name)).unwrap().is_file() {
            assert_eq!(site.read(&format!("out/{name}")).as_deref(), Some("open"), "{name}");
        }
    }
    assert!(number > 20, "{number}");
}

#[test]
fn work_that_is_ended_leaves_nothing() {
    let site = Site::new();
    site.write("in/t/a", "a");
    let operation = copy(&site.pairs(), &site.at("in/t"), &site.at("out/t"), KEEP).unwrap();
    let progress = Progress::default();
    progress.is_ending.store(true, Ordering::Relaxed);
    assert_eq!(operation.perform(PART, &progress), Err(Trouble::Ending));
    let Operation::Copy { from, to, options } = operation else { panic!("it is a copy") };
    assert_eq!(copy::copy(&from, &to, options, PART, &progress), Err(Trouble::Ending), "under way");
    assert_eq!(walk(&site.path("out")), Vec::<String>::new());
}
