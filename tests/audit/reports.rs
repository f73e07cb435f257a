//! Each report at three instants of the scripted history, and who may ask for what.

use serde_json::{Value, json};

use crate::history::{History, Ids, at};
use crate::support::{Caller, text};

/// What a report answers as JSON.
async fn ask(caller: &Caller, name: &str, query: &str) -> Value {
    caller.get(&format!("/v1/reports/{name}?{query}")).await.expect(200).json()
}

impl History {
    /// Some columns of a report on workspace A, as one line for each row.
    async fn rows(&self, name: &str, query: &str, columns: &str) -> Vec<String> {
        self.rows_of(&format!("{name}?workspaceId={}&{query}", self.a), columns).await
    }

    async fn rows_of(&self, path: &str, columns: &str) -> Vec<String> {
        let answer = self.service.operator.get(&format!("/v1/reports/{path}")).await.expect(200).json();
        assert_eq!(answer["next"], Value::Null);
        let rows = answer["rows"].as_array().unwrap();
        assert_eq!(answer["rowCount"], rows.len());
        let cell = |row: &Value, column: &str| {
            assert!(answer["columns"].as_array().unwrap().contains(&json!(column)), "{column}");
            match &row[column] {
                Value::Null => String::new(),
                Value::String(text) => self.told(text),
                Value::Number(at) if column.ends_with("osition") => {
                    by_script(at.as_u64().unwrap()).to_string()
                }
                other => other.to_string(),
            }
        };
        rows.iter()
            .map(|row| columns.split(' ').map(|c| cell(row, c)).collect::<Vec<_>>().join(" "))
            .collect()
    }

    /// As of day 6, of day 13, and of the last event.
    fn instants() -> [String; 3] {
        [format!("asOf={}", at(6, 0)), format!("asOf={}", at(13, 0)), format!("asOf=35&at={}", at(31, 0))]
    }
}

/// A position as the script counts them, which leaves out that the ledger's own key was added, after the first event.
fn by_script(position: u64) -> u64 {
    position - u64::from(position > 0)
}

#[track_caller]
fn same(found: &[String], expected: &[&str]) {
    assert_eq!(found, expected, "found:\n{}", found.join("\n"));
}

/// If this fails, an auditor is told of rotations that were not, or not of those that were.
#[tokio::test(flavor = "multi_thread")]
async fn rotations() {
    let history = History::write().await;
    let columns = "position time credentialId result version replacedVersion oldSecretExpiresAt compromised reason \
                   actorKind proof";
    let early = [
        "8 D1+0 c1 done 2 1 D1+3600 false  operator operator-key",
        "12 D5+0 e1 prepared 2   false  operator operator-key",
        "13 D5+600 e1 cancelled 2   false deadline scheduler schedule",
        "14 D5+600 e1 prepared 3   false  operator operator-key",
        "15 D5+600 e1 committed 3 1 D5+7800 false call operator operator-key",
    ];
    let late = [
        "18 D14+0 c1 done 3 2  true  operator operator-key",
        "19 D14+0 c1 refused    false rotate: forbidden workspace-key workspace-key",
        "21 D14+0 s1 done 2 1 D15+0 false  operator operator-key",
        "23 D14+0 s1 done 3 2 D14+100 false  operator operator-key",
        "26 D20+0 e1 done 4   false  operator operator-key",
    ];
    let [first, second, third] = History::instants();
    same(&history.rows("rotations", &first, columns).await, &early);
    same(&history.rows("rotations", &second, columns).await, &early);
    // This report is about no instant, and so takes none.
    let third = third.split('&').next().unwrap();
    same(&history.rows("rotations", third, columns).await, &[&early[..], &late[..]].concat());
    let filtered = format!("{third}&credentialId={}&from={}", history.ids.c1, at(14, 0));
    same(&history.rows("rotations", &filtered, columns).await, &late[..2]);
    let filtered = format!("{third}&kind=signing");
    same(&history.rows("rotations", &filtered, columns).await, &late[2..4]);
    let filtered = format!("{third}&actor=scheduler");
    same(&history.rows("rotations", &filtered, columns).await, &early[2..3]);
}

/// If this fails, an old secret passes for a young one, or is held against another policy than that of the day.
#[tokio::test(flavor = "multi_thread")]
async fn secret_age() {
    let history = History::write().await;
    let columns = "position credentialId kind version activeSince ageSeconds maxSecretAgeDays policyPosition overdue \
                   overdueSince";
    let [first, second, third] = History::instants();
    same(
        &history.rows("secret-age", &first, columns).await,
        &[
            "3 key workspace-key 1 D0+0 518400 10 4 false ",
            "8 c1 client 2 D1+0 432000 10 4 false ",
            "15 e1 exchange 3 D5+600 85800 10 4 false ",
        ],
    );
    // Exactly five days old is not older than five days.
    same(
        &history.rows("secret-age", &format!("{first}&olderThanDays=5"), columns).await,
        &["3 key workspace-key 1 D0+0 518400 10 4 false "],
    );
    same(
        &history.rows("secret-age", &second, columns).await,
        &[
            "3 key workspace-key 1 D0+0 1123200 20 17 false ",
            "8 c1 client 2 D1+0 1036800 20 17 false ",
            "15 e1 exchange 3 D5+600 690600 20 17 false ",
        ],
    );
    // Two times: what was known on day 13 of a second after day 11, under the policy of that second.
    same(
        &history.rows("secret-age", &format!("{second}&at={}", at(11, 1)), columns).await,
        &[
            "3 key workspace-key 1 D0+0 950401 10 4 true D10+0",
            "8 c1 client 2 D1+0 864001 10 4 true D11+0",
            "15 e1 exchange 3 D5+600 517801 10 4 false ",
        ],
    );
    same(
        &history.rows("secret-age", &third, columns).await,
        &[
            "3 key workspace-key 1 D0+0 2678400  28 false ",
            "23 s1 signing 3 D14+0 1468800  28 false ",
            "26 e1 exchange 4 D20+0 950400  28 false ",
            "33 c2 client 1 D30+0 86400  28 false ",
        ],
    );
    // Of a version that was replaced and revoked since, as it was on day 20: it was active then.
    let then = format!("asOf=35&at={}&kind=client", at(13, 0));
    same(&history.rows("secret-age", &then, columns).await, &["8 c1 client 2 D1+0 1036800 20 17 false "]);
}

/// If this fails, a secret that was too old for a while passes unseen.
#[tokio::test(flavor = "multi_thread")]
async fn out_of_policy() {
    let history = History::write().await;
    let columns = "credentialId version activeSince from to seconds maxSecretAgeDays policyPosition";
    let [first, second, third] = History::instants();
    same(&history.rows("out-of-policy", &first, columns).await, &[]);
    let (key, c1) = ("key 1 D0+0 D10+0 D12+0 172800 10 4", "c1 2 D1+0 D11+0 D12+0 86400 10 4");
    same(&history.rows("out-of-policy", &second, columns).await, &[key, c1]);
    let again = "key 1 D0+0 D20+0 D30+0 864000 20 17";
    same(&history.rows("out-of-policy", &third, columns).await, &[c1, key, again]);
    // Within a period, and what was known on day 11 of the day itself: it still was then.
    let period = format!("{third}&from={}&to={}", at(11, 0), at(21, 0));
    same(
        &history.rows("out-of-policy", &period, columns).await,
        &[c1, "key 1 D0+0 D11+0 D12+0 86400 10 4", "key 1 D0+0 D20+0 D21+0 86400 20 17"],
    );
    same(
        &history.rows("out-of-policy", &format!("asOf={}", at(11, 0)), columns).await,
        &["key 1 D0+0 D10+0  86400 10 4"],
    );
}

/// If this fails, an old secret is said to be dead that lives, or its uses are not told.
#[tokio::test(flavor = "multi_thread")]
async fn old_secrets() {
    let history = History::write().await;
    let columns = "credentialId version replacedAt replacedPosition expiresAt dead endedAt endedPosition ended uses \
                   firstUsedAt lastUsedAt quietSeconds usedAfterEnd";
    let early = [
        "c1 1 D1+0 8 D1+3600 true D1+3600 11 grace-over 2 D1+600 D1+1200 2400 false",
        "e1 1 D5+600 15 D5+7800 true D5+600 16 grace-ended-early 0   0 false",
    ];
    let late = [
        "c1 2 D14+0 18 D14+0 true D14+0 18 replaced-without-grace 0   0 false",
        "s1 1 D14+0 21 D15+0 true D14+0 22 replaced-again 0   0 false",
        "s1 2 D14+0 23 D14+100 true D14+100 24 grace-over 0   100 false",
    ];
    let [first, second, third] = History::instants();
    same(&history.rows("old-secrets", &first, columns).await, &early);
    same(&history.rows("old-secrets", &second, columns).await, &early);
    same(&history.rows("old-secrets", &third, columns).await, &[&early[..], &late[..]].concat());
    // In the grace period, as it was known then: after two uses, ten minutes later, and at its end.
    let then = |seconds| format!("asOf=11&at={}", at(1, seconds));
    same(
        &history.rows("old-secrets", &then(1_800), columns).await,
        &["c1 1 D1+0 8 D1+3600 false    2 D1+600 D1+1200 600 false"],
    );
    same(
        &history.rows("old-secrets", &then(3_600), columns).await,
        &["c1 1 D1+0 8 D1+3600 true D1+3600   2 D1+600 D1+1200 2400 false"],
    );
}

/// If this fails, nobody can say whether a version would have been accepted at an instant.
#[tokio::test(flavor = "multi_thread")]
async fn versions() {
    let history = History::write().await;
    let columns = "version position createdAt activeFrom retiringFrom validUntil ended endedPosition firstOldUseAt \
                   lastOldUseAt";
    let c1 = |rest: &str| format!("credentialId={}&{rest}", history.ids.c1);
    let whole = "1 5 D0+0 D0+0 D1+0 D1+3600 grace-over 11 D1+600 D1+1200";
    let [first, second, third] = History::instants();
    for instant in [first, second] {
        same(&history.rows("versions", &c1(&instant), columns).await, &[whole, "2 8 D1+0 D1+0      "]);
    }
    same(
        &history.rows("versions", &c1(&third), columns).await,
        &[
            whole,
            "2 8 D1+0 D1+0  D14+0 replaced-without-grace 18  ",
            "3 18 D14+0 D14+0  D30+0 credential-revoked 27  ",
        ],
    );
    let verdict = async |credential: &str, as_of: &str, instant: String| {
        let query = format!("credentialId={credential}&asOf={as_of}&at={instant}");
        let columns = "version statusAt wouldVerify";
        history.rows("versions", &query, columns).await.join(", ")
    };
    let (c1, e1) = (history.ids.c1.as_str(), history.ids.e1.as_str());
    assert_eq!(
        verdict(c1, "35", at(0, 0)).await,
        "1 active true, 2 not-yet-made false, 3 not-yet-made false"
    );
    assert_eq!(verdict(c1, "35", at(1, 3_599)).await, "1 retiring true, 2 active true, 3 not-yet-made false");
    assert_eq!(verdict(c1, "35", at(1, 3_600)).await, "1 expired false, 2 active true, 3 not-yet-made false");
    assert_eq!(verdict(c1, "35", at(40, 0)).await, "1 expired false, 2 expired false, 3 revoked false");
    // What was known after the first rotation of a day long after: the second version was to live on.
    assert_eq!(verdict(c1, "9", at(40, 0)).await, "1 expired false, 2 active true");
    assert_eq!(verdict(c1, "9", at(1, 1)).await, "1 retiring true, 2 active true");
    // A prepared secret is accepted, which commits it, until its deadline.
    assert_eq!(verdict(e1, "13", at(5, 599)).await, "1 active true, 2 prepared true");
    assert_eq!(verdict(e1, "13", at(5, 600)).await, "1 active true, 2 expired false");
    assert_eq!(verdict(e1, "26", at(20, 0)).await, "1 expired false, 2 expired false, 3 revoked false");
    let one = format!("credentialId={c1}&asOf=35&version=2");
    assert_eq!(history.rows("versions", &one, "version").await, ["2"]);
}

/// If this fails, the population, the policies, the compromises or the erasures are not those of the history.
#[tokio::test(flavor = "multi_thread")]
async fn what_there_was() {
    let history = History::write().await;
    let [first, second, third] = History::instants();
    let last = "asOf=35";
    let columns =
        "position credentialId kind issuedAt issuedByKind status version activeSince rotations revokedAt";
    let start = [
        "3 key workspace-key D0+0 operator active 1 D0+0 0 ",
        "5 c1 client D0+0 operator active 2 D1+0 1 ",
        "6 e1 exchange D0+0 operator active 3 D5+600 1 ",
    ];
    same(&history.rows("credentials", &first, columns).await, &start);
    same(&history.rows("credentials", &second, columns).await, &start);
    same(
        &history.rows("credentials", last, columns).await,
        &[
            start[0],
            "5 c1 client D0+0 operator revoked   2 D30+0",
            "6 e1 exchange D0+0 operator active 4 D20+0 2 ",
            "20 s1 signing D14+0 operator active 3 D14+0 2 ",
            "33 c2 client D30+0 operator active 1 D30+0 0 ",
        ],
    );

    let columns = "position from to inForce actorKind";
    same(
        &history.rows("policies", &first, columns).await,
        &["1 D0+0 D0+0 false operator", "4 D0+0  true operator"],
    );
    same(
        &history.rows("policies", &second, columns).await,
        &["1 D0+0 D0+0 false operator", "4 D0+0 D12+0 false operator", "17 D12+0  true operator"],
    );
    same(
        &history.rows("policies", &format!("{last}&at={}", at(12, 0)), columns).await,
        &[
            "1 D0+0 D0+0 false operator",
            "4 D0+0 D12+0 false operator",
            "17 D12+0 D30+0 true operator",
            "28 D30+0  false operator",
        ],
    );

    let columns = "credentialId version reportedAt replacedPosition deadAt deadPosition ended secondsToReplacement \
                   secondsToDeath targetSeconds met";
    same(&history.rows("compromises", &first, columns).await, &[]);
    same(&history.rows("compromises", &second, columns).await, &[]);
    same(
        &history.rows("compromises", &format!("{third}&targetSeconds=60"), columns).await,
        &["c1 2 D14+0 18 D14+0 18 replaced-without-grace 0 0 60 true"],
    );

    let columns = "position ofPosition part because actorKind";
    let replaced = "22 20 secret rota.credential.old-secret-expired.v1 operator";
    let of_s1 = [replaced, "24 21 secret rota.credential.old-secret-expired.v1 scheduler"];
    let of_c1 = [
        "34 5 details time-or-erasure operator",
        "34 8 details time-or-erasure operator",
        "34 18 details time-or-erasure operator",
        "34 27 details time-or-erasure operator",
    ];
    same(&history.rows("erasures", &second, columns).await, &[]);
    // After the second rotation of s1, whose grace period goes on.
    same(&history.rows("erasures", "asOf=24", columns).await, &[replaced]);
    same(&history.rows("erasures", last, columns).await, &[&of_s1[..], &of_c1[..]].concat());
    let filtered = format!("{last}&credentialId={}", history.ids.c1);
    same(&history.rows("erasures", &filtered, columns).await, &of_c1);
    same(&history.rows("erasures", &format!("{last}&kind=signing"), columns).await, &of_s1);
    same(&history.rows("erasures", &format!("{last}&actor=scheduler"), columns).await, &of_s1[1..]);
}

/// If this fails, samples are drawn from a population that is not all of it.
#[tokio::test(flavor = "multi_thread")]
async fn population() {
    let history = History::write().await;
    let [first, second, _] = History::instants();
    // Of the whole deployment: 17 events by day 6, of which 7 came on day 0 and 1 without a workspace.
    let columns = "type events firstPosition lastPosition";
    let day6 = history.rows_of(&format!("population?{first}"), columns).await;
    same(
        &day6,
        &[
            "rota.credential.issued.v1 4 3 7",
            "rota.credential.old-secret-expired.v1 2 11 16",
            "rota.credential.old-secret-used.v1 2 9 10",
            "rota.credential.prepared-secret-rotated.v1 1 15 15",
            "rota.credential.rotation-cancelled.v1 1 13 13",
            "rota.credential.rotation-prepared.v1 2 12 14",
            "rota.credential.secret-rotated.v1 1 8 8",
            "rota.ledger.key-added.v1 1 0 0",
            "rota.token-keys.key-made.v1 1 0 0",
            "rota.workspace.opened.v1 2 1 2",
            "rota.workspace.policy-set.v1 1 4 4",
        ],
    );
    let between = history.rows_of(&format!("population?{second}&since=18"), columns).await;
    same(&between, &["rota.workspace.policy-set.v1 1 17 17"]);
    let day13 = history.rows_of(&format!("population?{second}"), columns).await;
    let policies = "rota.workspace.policy-set.v1 2 4 17";
    same(&day13, &[&day6.iter().map(String::as_str).collect::<Vec<_>>()[..10], &[policies]].concat());
    same(
        &history.rows_of("population?asOf=35", columns).await,
        &[
            "rota.credential.issued.v1 7 3 33",
            "rota.credential.old-secret-expired.v1 5 11 32",
            "rota.credential.old-secret-used.v1 3 9 31",
            "rota.credential.prepared-secret-rotated.v1 1 15 15",
            "rota.credential.revoked.v1 1 27 27",
            "rota.credential.rotation-cancelled.v1 1 13 13",
            "rota.credential.rotation-prepared.v1 2 12 14",
            "rota.credential.rotation-refused.v1 1 19 19",
            "rota.credential.secret-revoked.v1 1 25 25",
            "rota.credential.secret-rotated.v1 6 8 30",
            "rota.ledger.key-added.v1 1 0 0",
            "rota.token-keys.key-made.v1 1 0 0",
            "rota.workspace.opened.v1 2 1 2",
            "rota.workspace.policy-set.v1 3 4 28",
            "rota.workspace.sealed-parts-shredded.v1 1 34 34",
        ],
    );
    // Of some credentials, nothing that is of none.
    same(
        &history.rows_of("population?asOf=35&kind=signing", columns).await,
        &[
            "rota.credential.issued.v1 1 20 20",
            "rota.credential.old-secret-expired.v1 2 22 24",
            "rota.credential.secret-rotated.v1 2 21 23",
        ],
    );
    let columns = "position cause signsAt actorKind";
    let keys = history.rows_of("token-keys?asOf=35", columns).await;
    same(&keys, &["0 first true scheduler"]);
}

/// If this fails, nobody can say whose plan replaced a secret, who was to get it, or which key signed when.
#[tokio::test(flavor = "multi_thread")]
async fn plans_owners_and_keys() {
    let history = History::write_with_sequel().await;
    let Ids { key, c2, .. } = &history.ids;
    let as_of = |day: u64| format!("asOf={}", at(day, 0));

    let columns = "position credentialId what ownerId recipient actorKind";
    let said = [
        "35 key recipient  age operator",
        "36 s1 owner key  operator",
        "37 c2 owner key  operator",
        "47 c2 owner c2  operator",
    ];
    same(&history.rows("custody", &as_of(31), columns).await, &[]);
    same(&history.rows("custody", &as_of(33), columns).await, &said[..3]);
    same(&history.rows("custody", &as_of(36), columns).await, &said);
    same(&history.rows("custody", &format!("ownerId={key}"), columns).await, &said[..2]);
    same(&history.rows("custody", "kind=client", columns).await, &said[2..]);
    same(&history.rows("custody", "actor=scheduler", columns).await, &[]);
    let period = format!("from={}&to={}", at(33, 0), at(35, 0));
    same(&history.rows("custody", &period, columns).await, &said[3..]);

    let columns = "credentialId status plannedVersion ownerId recipient outcome newVersion at position";
    same(&history.rows("campaigns", &as_of(32), columns).await, &[]);
    same(
        &history.rows("campaigns", "asOf=43", columns).await,
        &["s1 running 3 key age done 4 D33+0 42", "c2 running 1 key age waiting   "],
    );
    let ended = ["s1 ended 3 key age done 4 D33+0 42", "c2 ended 1 key age done 2 D33+0 44"];
    same(&history.rows("campaigns", &as_of(36), columns).await, &ended);
    same(&history.rows("campaigns", "kind=client", columns).await, &ended[1..]);
    same(&history.rows("campaigns", &format!("credentialId={c2}"), columns).await, &ended[1..]);
    // Those that were planned for it, whose ever they are now.
    same(&history.rows("campaigns", &format!("ownerId={key}"), columns).await, &ended);
    same(&history.rows("campaigns", &format!("ownerId={key}&kind=signing"), columns).await, &ended[..1]);
    same(&history.rows("campaigns", &format!("ownerId={c2}"), columns).await, &[]);
    same(&history.rows("campaigns", &format!("to={}", at(33, 0)), columns).await, &[]);

    let columns = "position signsUntil privatePartDestroyedAt cause signsAt actorKind";
    let keys = async |name: &str, day: u64| history.rows_of(&format!("{name}?{}", as_of(day)), columns).await;
    same(&keys("ledger-keys", 31).await, &["0   first true scheduler"]);
    same(&keys("ledger-keys", 34).await, &["0 D35+0  first true scheduler", "49   call true operator"]);
    let last = ["0 D35+0 D36+0 first false scheduler", "49   call true operator"];
    same(&keys("ledger-keys", 36).await, &last);
    same(&keys("token-keys", 31).await, &["0   first true scheduler"]);
    same(&keys("token-keys", 34).await, &["0 D34+600  first true scheduler", "48   call false operator"]);
    let last = ["0 D34+600 D36+0 first false scheduler", "48   call true operator"];
    same(&keys("token-keys", 36).await, &last);

    // Every report that is about credentials, of one owner's as they are now: the key itself and s1.
    let mine = async |name: &str, columns: &str| {
        let query = format!("asOf=52&ownerId={key}");
        history.rows(name, &query, columns).await
    };
    same(&mine("credentials", "credentialId version").await, &["key 1", "s1 4"]);
    same(&mine("rotations", "credentialId version").await, &["s1 2", "s1 3", "s1 4"]);
    same(&mine("secret-age", "credentialId version").await, &["key 1", "s1 4"]);
    same(&mine("out-of-policy", "credentialId seconds").await, &["key 172800", "key 864000"]);
    same(&mine("old-secrets", "credentialId version").await, &["s1 1", "s1 2", "s1 3"]);
    same(&mine("compromises", "credentialId").await, &[]);
    same(&mine("erasures", "position ofPosition").await, &["22 20", "24 21", "41 23"]);
    same(
        &mine("population", "type events firstPosition lastPosition").await,
        &[
            "rota.credential.issued.v1 2 3 20",
            "rota.credential.old-secret-expired.v1 2 22 24",
            "rota.credential.secret-rotated.v1 3 21 41",
            "rota.custody.owner-set.v1 1 36 36",
            "rota.custody.recipient-set.v1 1 35 35",
        ],
    );
    // And of a kind besides, page by page.
    let page =
        ask(&history.service.operator, "rotations", &format!("ownerId={key}&kind=signing&limit=2")).await;
    assert_eq!((page["rowCount"].as_u64(), page["rows"].as_array().unwrap().len()), (Some(3), 2));
    let next = format!("ownerId={key}&kind=signing&limit=2&after={}", text(&page["next"]));
    let rest = ask(&history.service.operator, "rotations", &next).await;
    assert_eq!((rest["rows"][0]["version"].as_u64(), &rest["next"]), (Some(4), &Value::Null));
}

/// If this fails, the same question gives another answer later, and nothing that was reported can be reproduced.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_question_as_of_the_same_point_gives_the_same_bytes_for_ever() {
    let mut history = History::write().await;
    let (c1, a) = (history.ids.c1.clone(), history.a.clone());
    let catalogue = history.auditor.get("/v1/reports").await.expect(200).json();
    let names: Vec<_> = catalogue["items"].as_array().unwrap().iter().map(|i| text(&i["name"])).collect();
    assert_eq!(names.len(), 16);
    let paths: Vec<_> = names
        .iter()
        .flat_map(|name| {
            let of = if name == "versions" { format!("&credentialId={c1}") } else { String::new() };
            let as_of = [at(6, 0), at(13, 0), "35".to_owned()];
            as_of.into_iter().flat_map(move |as_of| {
                let path = format!("/v1/reports/{name}?asOf={as_of}{of}");
                [format!("{path}&format=csv"), path]
            })
        })
        .collect();
    let all = async |caller: &Caller| {
        let mut answers = Vec::new();
        for path in &paths {
            answers.push(caller.get(path).await.expect(200).text);
        }
        answers
    };
    let before = all(&history.service.operator).await;
    // The workspace's own auditor gets what the operator gets who asks for that workspace.
    let asked = format!("workspaceId={a}&asOf=35");
    assert_eq!(
        ask(&history.auditor, "rotations", "asOf=35").await,
        ask(&history.service.operator, "rotations", &asked).await
    );
    history.goes_on().await;
    assert_eq!(all(&history.service.operator).await, before);
    history.service.restart(|_| ()).await;
    assert_eq!(all(&history.service.operator).await, before);

    // As CSV the same rows: a header, and a cell for each column.
    for pair in paths.chunks(2).zip(before.chunks(2)) {
        let (path, [csv, json]) = (&pair.0[1], pair.1) else { unreachable!() };
        let json: Value = serde_json::from_str(json).unwrap();
        let columns: Vec<_> = json["columns"].as_array().unwrap().iter().map(text).collect();
        let mut lines = csv.lines();
        assert_eq!(lines.next().unwrap(), columns.join(","), "{path}");
        assert_eq!(lines.count(), json["rowCount"], "{path}");
    }
    let csv =
        history.service.operator.get("/v1/reports/rotations?asOf=35&format=csv&limit=2").await.expect(200);
    assert_eq!(
        [csv.header("rota-position"), csv.header("rota-row-count"), csv.header("content-type")],
        ["35", "11", "text/csv; charset=utf-8"]
    );
    assert!(!csv.header("rota-next").is_empty());

    // In pages, and while things go on: the same rows, of the point in history of the first page.
    let operator = &history.service.operator;
    let whole = ask(operator, "rotations", "").await;
    let mut rows = Vec::new();
    let mut after = String::new();
    loop {
        let page = ask(operator, "rotations", &format!("limit=2{after}")).await;
        assert_eq!((&page["position"], &page["rowCount"]), (&whole["position"], &whole["rowCount"]));
        rows.extend(page["rows"].as_array().unwrap().clone());
        history.goes_on().await;
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(json!(rows), whole["rows"]);
}

/// If this fails, a workspace's auditor learns of others, or a misspelt question gets an answer.
#[tokio::test(flavor = "multi_thread")]
async fn who_may_ask_and_what_is_refused() {
    let history = History::write().await;
    let (auditor, operator) = (&history.auditor, &history.service.operator);
    let (_, _, verifier) = operator.workspace_key(&history.a, &["verifier"]).await;
    verifier.get("/v1/reports").await.expect(403);
    verifier.get("/v1/reports/rotations").await.expect(403);
    Caller::nobody(&operator.url).get("/v1/reports").await.expect(401);
    auditor.get(&format!("/v1/reports/rotations?workspaceId={}", history.b)).await.expect(404);
    let foreign = format!("credentialId={}", history.ids.b1);
    for name in ["rotations", "versions", "secret-age", "old-secrets"] {
        auditor.get(&format!("/v1/reports/{name}?{foreign}")).await.expect(404);
    }
    // Another workspace's position answers like one beyond the end.
    auditor.get("/v1/reports/rotations?asOf=8").await.expect(400);
    for name in ["population", "policies", "credentials", "erasures", "token-keys"] {
        let told = auditor.get(&format!("/v1/reports/{name}")).await.expect(200).text;
        assert!(!told.contains(&history.b) && !told.contains(&history.ids.b1), "{name}: {told}");
    }
    assert_eq!(ask(auditor, "token-keys", "").await["rowCount"], 0);

    operator.get("/v1/reports/nothing").await.expect(404);
    let events = history.service.app().head().borrow().0;
    for (path, field) in [
        ("rotations?olderThanDays=3", "olderThanDays"),
        ("rotations?rotationId=0199c0de-0000-7000-8000-000000000000", "rotationId"),
        ("policies?ownerId=0199c0de-0000-7000-8000-000000000000", "ownerId"),
        ("rotations?at=2027-01-02T00:00:00Z", "at"),
        ("rotations?colour=red", "colour"),
        ("rotations?format=xml", "query"),
        ("rotations?limit=0", "limit"),
        ("rotations?limit=10001", "limit"),
        ("rotations?after=x", "after"),
        ("rotations?after=1.2", "after"),
        ("rotations?after=999.0.0", "after"),
        ("rotations?asOf=35&after=34.0.0", "after"),
        ("rotations?asOf=999", "asOf"),
        ("rotations?asOf=2099-01-01T00:00:00Z", "asOf"),
        ("rotations?asOf=yesterday", "asOf"),
        ("rotations?from=noon", "from"),
        ("rotations?from=2027-01-02T00:00:00Z&to=2027-01-02T00:00:00Z", "to"),
        ("rotations?actor=me", "actor"),
        ("versions", "credentialId"),
        ("secret-age?at=soon", "at"),
    ] {
        let refused = operator.get(&format!("/v1/reports/{path}")).await.expect(400);
        assert_eq!(
            (refused.code().as_str(), refused.json()["field"].as_str()),
            ("invalid-input", Some(field)),
            "{path}"
        );
    }
    assert_eq!(history.service.app().head().borrow().0, events, "asking changes nothing");
}
