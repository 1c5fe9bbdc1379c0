//! Access licences of users.

use qlik_simulator::{Access, AccessType, Endpoint, Fault, Options, QlikSimulator, Site, User};
use reqwest::{Method, StatusCode};

use crate::client::Qlik;

/// A simulator with analyzer licences that were not used for 1, 20 and 40 days, and one that was never used; their ids.
async fn start() -> (QlikSimulator, Qlik, Vec<String>) {
    let site = Site::empty();
    let user = |name: &str| site.add_user(User::new("LAB", name, name));
    let mut accesses: Vec<Access> = [1, 20, 40].map(|days| Access::new(user(&days.to_string())).days_ago(days)).into();
    accesses.push(Access::new(user("never")));
    let ids = accesses.into_iter().map(|access| site.give_access(AccessType::Analyzer, access).unwrap()).collect();
    let simulator = QlikSimulator::start(Options::default().site(site)).await.unwrap();
    let qlik = Qlik::new(&simulator);
    (simulator, qlik, ids)
}

async fn delete(qlik: &Qlik, id: &str) -> StatusCode {
    let path = format!("license/analyzeraccesstype/{id}");
    qlik.request(Method::DELETE, &path).send().await.unwrap().status()
}

#[tokio::test]
async fn lists_and_numbers_go_by_the_filter_and_have_no_pages() {
    let (_simulator, qlik, ids) = start().await;
    let day = jiff::SignedDuration::from_hours(24);
    let filter = format!(
        "lastUsed%20ge%20'1754-01-01T00:00:00.000Z'%20and%20lastUsed%20le%20'{:.3}'",
        jiff::Timestamp::now() - day * 10
    );
    let list = qlik.list(&format!("license/analyzeraccesstype/full?filter={filter}"), "id").await;
    assert_eq!(list, ids[1..3]);
    let count = qlik.json(&format!("license/AnalyzerAccessType/count?filter={filter}")).await;
    assert_eq!(count["value"], 2);
    let all = qlik.list("license/analyzeraccesstype/full?skip=1&take=1&orderby=lastUsed", "lastUsed").await;
    assert_eq!(all.len(), 4, "as in the repository service");
    assert!(all.is_sorted(), "{all:?}");
    assert_eq!(qlik.json("license/professionalaccesstype/count").await["value"], 0);
    assert_eq!(qlik.status("license/analyzeraccesstype/full?filter=lastUsed").await, StatusCode::BAD_REQUEST);
    let one = qlik.json(&format!("license/analyzeraccesstype/{}", ids[3])).await;
    assert_eq!(
        (one["lastUsed"].as_str(), one["user"]["userId"].as_str()),
        (Some("1753-01-01T00:00:00.000Z"), Some("never"))
    );
}

#[tokio::test]
async fn a_release_takes_the_licence_or_puts_it_into_quarantine() {
    let (simulator, qlik, ids) = start().await;
    let site = simulator.site();
    assert_eq!(delete(&qlik, &ids[2]).await, StatusCode::NO_CONTENT);
    assert_eq!(delete(&qlik, &ids[2]).await, StatusCode::NOT_FOUND);
    assert_eq!(delete(&qlik, &ids[0]).await, StatusCode::NO_CONTENT);
    assert!(site.access(AccessType::Analyzer, &ids[2]).is_none());
    assert!(site.access(AccessType::Analyzer, &ids[0]).unwrap().quarantined, "it was used lately");
    let releases: Vec<bool> = site.access_releases().iter().map(|release| release.released).collect();
    assert_eq!(releases, [true, false, true]);
    site.set_release_allowed(false);
    assert_eq!(delete(&qlik, &ids[1]).await, StatusCode::FORBIDDEN);
    assert_eq!((site.access_count(AccessType::Analyzer), site.access_releases().len()), (3, 3));
}

#[tokio::test]
async fn an_answer_may_get_lost_after_its_effect() {
    let (simulator, qlik, ids) = start().await;
    let by_id = Fault::lost_answer().on(Endpoint::AnalyzerAccessById).method(Method::DELETE);
    simulator.faults().add(by_id.of(&ids[1]));
    let path = format!("license/analyzeraccesstype/{}", ids[1]);
    assert_eq!(qlik.status(&path).await, StatusCode::OK, "only deletes");
    assert!(qlik.request(Method::DELETE, &path).send().await.is_err());
    assert!(simulator.site().access(AccessType::Analyzer, &ids[1]).is_none());
}
