//! Every kind of secret is hidden in whatever surroundings, what is none stays byte for byte, and no text takes long.

use std::path::Path;
use std::sync::LazyLock;

use hume_core::event::{EXTRA_BYTES_MAX, EXTRA_PAIRS_MAX, MESSAGE_BYTES_MAX};
use hume_core::name::{EventId, TaskName};
use hume_runtime::config;
use proptest::prelude::*;

use super::rules::LOOKS_MAX;
use super::*;

/// Made once: unoptimised, that takes longer than a property.
fn redactor() -> &'static Redactor {
    static REDACTOR: LazyLock<Redactor> = LazyLock::new(|| Redactor::new(&Config::default()).unwrap());
    &REDACTOR
}

fn by(text: &str) -> Result<Redactor, String> {
    let config: Config = config::parse(Path::new("agent.toml"), text).map_err(|error| error.to_string())?;
    Redactor::new(&config).map_err(|error| error.to_string())
}

fn draft(message: &str) -> Draft {
    let mut draft = Draft::new(EventId::from_bytes([1; 16]), TaskName::parse("BACKUP").unwrap());
    message.clone_into(&mut draft.message);
    draft
}

#[test]
fn secrets_are_hidden_and_what_they_were_stays_visible() {
    let redactor = redactor();
    for (said, shown) in [
        // Names with values.
        ("login with password=hunter2 failed", "login with password=*** failed"),
        ("PASSWORD = hunter2", "PASSWORD = ***"),
        ("passwd: hunter2, user: joe", "passwd: ***, user: joe"),
        ("pwd=hunter2", "pwd=***"),
        ("the Passwort: hunter2", "the Passwort: ***"),
        ("export PGPASSWORD='hunter 2'; psql", "export PGPASSWORD='***'; psql"),
        ("MYSQL_PWD=hun,ter;2&3 mysql", "MYSQL_PWD=*** mysql"),
        (r#"password="hun\"ter 2" next"#, r#"password="***" next"#),
        (r"password='it'\''s me' next", "password=*** next"),
        (r"password=hun\ ter2 next", "password=*** next"),
        (r#"password="abc"def next"#, "password=*** next"),
        ("password=\"never closed\nand on", "password=\"***"),
        (r#"{"user":"joe","password":"hunter2","x":1}"#, r#"{"user":"joe","password":"***","x":1}"#),
        (r#"{\"password\":\"hun\\\"ter 2\",\"x\":1}"#, r#"{\"password\":\"***\",\"x\":1}"#),
        (r#"{"msg":"with password=hunter2"}"#, r#"{"msg":"with password=***"}"#),
        ("{'db_pass': b'hunter 2'}", "{'db_pass': b'***'}"),
        (r#"Db { password: Some("hunter 2") }"#, "Db { password: ***\") }"),
        (r#"$cfg["password"] = "hunter2";"#, r#"$cfg["password"] = "***";"#),
        ("password => 'hunter2'", "password => '***'"),
        ("<password>hun ter2</password>", "<password>***</password>"),
        ("Server=a;Password=hunter2;Database=b", "Server=a;Password=***;Database=b"),
        ("https://a/b?token=abc123&page=2#x", "https://a/b?token=***&page=2#x"),
        ("/cb?page=2&access_token=abc123", "/cb?page=2&access_token=***"),
        ("go%3Faccess_token%3Dabc123", "go%3Faccess_token%3D***"),
        ("client_secret=abc api_key=def api-key: ghi", "client_secret=*** api_key=*** api-key: ***"),
        ("AWS_SECRET_ACCESS_KEY=wJalr/XUtn+K", "AWS_SECRET_ACCESS_KEY=***"),
        ("X-Api-Key: abc123", "X-Api-Key: ***"),
        ("curl -H \"X-Auth-Token: abc 123\" -v", "curl -H \"X-Auth-Token: ***\" -v"),
        ("apiToken2=abc1", "apiToken2=***"),
        ("password2=a password=b", "password2=*** password=***"),
        ("ALTER USER joe PASSWORD 'hunter2'", "ALTER USER joe PASSWORD '***'"),
        ("SET PASSWORD('hunter2')", "SET PASSWORD('***')"),
        ("CREATE USER joe IDENTIFIED BY 'hunter2'", "CREATE USER joe IDENTIFIED BY '***'"),
        ("Kennwort: größer!", "Kennwort: ***"),
        // Headers.
        ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
        ("authorization: bearer abc --next x", "authorization: bearer *** --next x"),
        ("Proxy-Authorization: Basic am9lOmg=\nHost: a", "Proxy-Authorization: Basic ***\nHost: a"),
        ("Authorization: Digest username=\"joe\", response=\"abc\"", "Authorization: Digest ***"),
        ("Authorization: hunter2 and more", "Authorization: ***"),
        (r#"{"Authorization":"Token abc"}"#, r#"{"Authorization":"Token ***"}"#),
        ("curl -H 'Authorization: Bearer abc' https://a", "curl -H 'Authorization: Bearer ***' https://a"),
        ("Cookie: sid=abc; lang=de\nHost: a", "Cookie: ***\nHost: a"),
        ("Set-Cookie: sid=abc; Path=/", "Set-Cookie: ***"),
        // Options and commands, as process trees show them.
        ("4711 tool --password hunter2 --verbose", "4711 tool --password *** --verbose"),
        ("tool --db-password=hunter2 x", "tool --db-password=*** x"),
        ("java -Dssl.keyPassword=hunter2 -jar x", "java -Dssl.keyPassword=*** -jar x"),
        ("tool --api-key abc --pass def", "tool --api-key *** --pass ***"),
        ("5 mysqldump mysqldump -uroot -phunter2 --opt db", "5 mysqldump mysqldump -uroot -p*** --opt db"),
        ("mysql -p'hunter 2' db", "mysql -p'***' db"),
        ("mariadb-admin -u root -phunter2 ping\n-port", "mariadb-admin -u root -p*** ping\n-port"),
        ("sshpass -p hunter2 ssh a", "sshpass -p *** ssh a"),
        ("sshpass -phunter2 ssh a", "sshpass -p*** ssh a"),
        ("curl -u joe:hunter2 https://a", "curl -u joe:*** https://a"),
        ("curl --user=joe:hunter2 -ujoe:hunter3 a", "curl --user=joe:*** -ujoe:*** a"),
        ("redis-cli -h a -a hunter2 ping", "redis-cli -h a -a *** ping"),
        ("ldapsearch -x -D cn=a -w hunter2 -b b", "ldapsearch -x -D cn=a -w *** -b b"),
        ("smbclient //a/b -U joe%hunter2", "smbclient //a/b -U joe%***"),
        ("openssl rsa -passin pass:hunter2 -in a", "openssl rsa -passin pass:*** -in a"),
        // Addresses.
        ("postgres://joe:hunter2@db:5432/x", "postgres://joe:***@db:5432/x"),
        ("redis://:hunter2@cache", "redis://:***@cache"),
        ("https://joe:hun@ter2@a/b", "https://joe:***@a/b"),
        ("https://joe:hun/ter2@a/b", "https://joe:***@a/b"),
        ("'ftp://joe:hunter2@a' and https://a:80/b", "'ftp://joe:***@a' and https://a:80/b"),
        // Shapes.
        ("key AKIAIOSFODNN7EXAMPLE used", "key AKIA*** used"),
        ("ghp_0123456789abcdefghijABCDEFGHIJ012345", "ghp_***"),
        ("github_pat_11ABCDEFG0123456789_abcdefghij", "github_pat_***"),
        ("glpat-0123456789abcdefghij.", "glpat-***"),
        ("xoxb-123456789012-abcdefghij", "xoxb-***"),
        (
            "POST https://hooks.slack.com/services/T0/B0/abc 404",
            "POST https://hooks.slack.com/services/*** 404",
        ),
        ("got eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc-def_1", "got eyJ***"),
        ("bearer 0123456789abcdef", "bearer ***"),
        ("sk_live_0123456789abcdef", "sk_live_***"),
        (
            "a\n-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\nbnNz\n-----END OPENSSH PRIVATE KEY-----\nz",
            "a\n-----BEGIN OPENSSH PRIVATE KEY-----***-----END OPENSSH PRIVATE KEY-----\nz",
        ),
        ("-----BEGIN PRIVATE KEY-----\nb3Bl\nbn", "-----BEGIN PRIVATE KEY-----***"),
        ("3Bl\nbnNz\n-----END RSA PRIVATE KEY-----", "***-----END RSA PRIVATE KEY-----"),
    ] {
        assert_eq!(redactor.text(said), shown, "{said}");
        assert_eq!(redactor.text(shown), shown, "what was hidden stays as it is");
    }
}

#[test]
fn quotes_that_are_left_open_do_not_hide_the_secret_of_a_later_line_from_its_rule() {
    let shown = redactor().text("password=\"\npassword=\"/hunter2\" b");
    assert_eq!(shown, "password=\"***\"***\" b");
}

#[test]
fn what_only_looks_like_a_secret_stays_as_it_is() {
    let redactor = redactor();
    for text in [
        "",
        "file 123456 copied of the tree of /srv/www, 12 of 12 passed",
        "password changed for joe",
        "wrong password, 3 attempts left",
        "Enter password:\nLogin failed",
        "password_file=/etc/hume/secret.txt",
        "--password-file /run/secrets/db --no-password x",
        "mysql --password --host db",
        "tool --token -v",
        "has_token=true secret: none password=null",
        "tokens: 512, max_tokens=4096, token_count=7, token_type: bearer",
        "access_token_url=https://a/b",
        "PWD=/home/joe OLDPWD=/srv",
        "pass: 12 fail: 3",
        "compass=north bypass: yes tokenizer=gpt",
        "https://a:8080/b@c ssh://git@a/b http://[::1]:80/",
        "see https://example.net/a?page=2&lang=de",
        "mysql -u root -p db",
        "ssh -p 2222 -i key a",
        "curl -sS https://a/b -o c",
        "the key: value store",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
        "author=joe auth: ok authorized: yes",
        "größe=1 naïve 日本語 \u{1F600}",
        "PASSWORD=***",
    ] {
        assert_eq!(redactor.text(text), text);
        assert!(matches!(redactor.text(text), Cow::Borrowed(_)), "{text}");
    }
}

#[test]
fn an_extra_whose_name_speaks_of_a_secret_is_hidden_as_a_whole() {
    let mut draft = draft("nothing here");
    let pairs = [
        ("db_password", "hunter 2 and more", "***"),
        ("API-Key", "abc", "***"),
        ("authorization", "Bearer abc", "***"),
        ("githubToken", "abc", "***"),
        ("password_file", "/etc/x", "/etc/x"),
        ("tokens", "12", "12"),
        ("has_token", "true", "true"),
        ("secret", "", ""),
        ("note", "password=hunter2", "password=***"),
        ("rows", "12", "12"),
    ];
    draft.extra = pairs.iter().map(|(key, said, _)| ((*key).to_owned(), (*said).to_owned())).collect();
    assert!(redactor().draft(&mut draft, &mut Process::default()));
    for ((key, value), (_, _, shown)) in draft.extra.iter().zip(pairs) {
        assert_eq!(value, shown, "{key}");
    }
    assert_eq!(draft.message, "nothing here");
}

#[test]
fn every_text_of_a_draft_is_looked_at_and_names_are_not() {
    let secret = "password=hunter2";
    let mut one = draft(secret);
    one.task = TaskName::parse(secret).unwrap();
    one.tree = Some(format!("1 init\n 2 sh {secret}"));
    one.extra = vec![(secret.to_owned(), secret.to_owned())];
    let mut process = Process { script: Some(format!("/opt/{secret}")), ..Process::default() };
    assert!(redactor().draft(&mut one, &mut process));
    assert_eq!(
        (one.message.as_str(), one.tree.as_deref()),
        ("password=***", Some("1 init\n 2 sh password=***"))
    );
    assert_eq!(one.extra, [("password=***".to_owned(), "***".to_owned())]);
    assert_eq!(process.script.as_deref(), Some("/opt/password=***"));
    assert_eq!(one.task.as_str(), secret);
    let (mut clean, mut process) = (draft("clean"), Process::default());
    assert!(!redactor().draft(&mut clean, &mut process));
    assert_eq!((clean, process), (draft("clean"), Process::default()));
}

#[test]
fn patterns_of_the_configuration_hide_their_groups_or_all_that_they_match() {
    let redactor =
        by("patterns = ['card \\d{4} (\\d+) (\\d+)', 'Straße \\w+', 'x(?:y)z']\nkeys = [\"IBAN\"]").unwrap();
    let said = "card 1234 5678 90 in Straße Ahorn xyz password=a";
    assert_eq!(redactor.text(said), "card 1234 *** *** in *** *** password=***");
    let mut draft = draft("");
    draft.extra = vec![("iban".to_owned(), "DE 12".to_owned())];
    assert!(redactor.draft(&mut draft, &mut Process::default()));
    assert_eq!(draft.extra[0].1, "***");
    assert!(!redactor.draft(&mut draft, &mut Process::default()), "what is hidden is not hidden again");
}

#[test]
fn without_the_defaults_only_the_configuration_hides() {
    let redactor = by("defaults = false\npatterns = ['a+']").unwrap();
    assert_eq!(redactor.text("password=bb aa"), "p***ssword=bb ***");
    let mut one = draft("password=b");
    one.extra = vec![("password".to_owned(), "b".to_owned())];
    let mut none = Redactor::new(&Config { defaults: false, ..Config::default() }).unwrap();
    none.keys = Vec::new();
    assert!(!none.draft(&mut one, &mut Process::default()));
    assert_eq!((one.message.as_str(), one.extra[0].1.as_str()), ("password=b", "b"));
}

#[test]
fn a_pattern_that_cannot_be_used_is_named_with_its_place() {
    for (text, said) in [
        (
            "patterns = [\n  'fine',\n  'größe(ab'\n]",
            "agent.toml:1:12: the pattern `größe(ab` has no meaning at character 6: unclosed group",
        ),
        ("patterns = ['a(?=b)']", "look-around"),
        ("patterns = ['(?:a{1000}){1000}']", "needs more than"),
        ("patterns = ['a*']", "the pattern `a*` matches the empty text"),
        ("pattern = ['a']", "did you mean `patterns`?"),
    ] {
        let error = by(text).unwrap_err();
        assert!(error.contains(said), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
    let long = format!("patterns = ['{}']", "a".repeat(PATTERN_BYTES_MAX + 1));
    assert!(by(&long).unwrap_err().contains("at most 1024 are allowed"));
    let many: Vec<String> = (0..=PATTERNS_MAX).map(|number| format!("'a{number}'")).collect();
    assert!(by(&format!("patterns = [{}]", many.join(","))).unwrap_err().contains("101 patterns"));
    let large: Vec<String> = (0..PATTERNS_MAX).map(|number| format!("'a{number}[b-y]{{1000}}'")).collect();
    assert!(by(&format!("patterns = [{}]", large.join(","))).unwrap_err().contains("together"));
}

#[test]
fn what_is_longer_when_hidden_is_cut_to_its_bound() {
    let short = "pwd=a ";
    let mut full = draft(&short.repeat(MESSAGE_BYTES_MAX / short.len()));
    full.tree = Some(full.message.clone());
    full.extra = vec![
        ("a".to_owned(), short.repeat((EXTRA_BYTES_MAX - 10) / short.len())),
        ("pwd".to_owned(), "b".to_owned()),
    ];
    let full = full.check().unwrap();
    let (mut hidden, mut process) = (full.clone(), Process::default());
    process.script = Some(short.repeat(SURROUNDINGS_BYTES_MAX / short.len()));
    assert!(redactor().draft(&mut hidden, &mut process));
    assert_eq!(hidden.message.len(), MESSAGE_BYTES_MAX);
    assert!(hidden.truncated_from.is_some_and(|bytes| bytes > MESSAGE_BYTES_MAX as u64));
    assert!(hidden.mangled && process.script.unwrap().len() <= SURROUNDINGS_BYTES_MAX);
    assert!(hidden.check().is_ok());
}

/// Looks that the defaults take, and how many rules were asked.
fn looks(text: &str) -> usize {
    let redactor = redactor();
    let mut secrets = Vec::new();
    redactor.groups.iter().map(|group| group.secrets(text, &mut secrets)).sum()
}

#[test]
fn a_clean_text_costs_one_look_whatever_its_length() {
    for length in [0, 230, 16 * 1024] {
        let text = "file copied of the tree of /srv/www ".repeat(length / 36);
        assert_eq!(looks(&text), 1);
    }
}

#[test]
fn the_looks_at_a_hostile_text_grow_no_faster_than_the_text() {
    for piece in [
        "password=",
        "password:\"",
        "password='\"",
        "token_count=",
        "--pass ",
        "://a:",
        "://:",
        "mysql -p",
        "mysql '",
        "curl -u \"",
        "eyJ",
        "-----BEGIN PRIVATE KEY-----",
        "Authorization: Basic",
        "cookie:'",
        "pwd=\\",
        "\\\"pwd\\\"",
        "pwd(\"",
        "AKIA",
        "a",
        "é",
        "@",
        "/",
        "\"",
        "pass",
        "sk-",
        "<pwd>",
        "?token=",
        "bearer aaaaaaaaaaaaaaaa ",
    ] {
        let counts = [500, 1000, 2000].map(|times| looks(&piece.repeat(times)));
        // A look for each piece and rule at most, and each goes forward.
        for (count, times) in counts.into_iter().zip([500, 1000, 2000]) {
            assert!(count <= 2 * times + rules::RULES, "{piece}: {count} looks at {times} pieces");
        }
    }
}

#[test]
fn a_pattern_that_looks_further_than_it_finds_is_stopped_and_the_rest_is_hidden() {
    let redactor = by("defaults = false\npatterns = ['a.*b|a']").unwrap();
    let text = "a".repeat(16 * 1024);
    let mut secrets = Vec::new();
    assert_eq!(redactor.groups[0].secrets(&text, &mut secrets), 1 + LOOKS_MAX);
    assert_eq!(secrets.last(), Some(&(LOOKS_MAX..text.len())));
    assert_eq!(redactor.text(&text), "***");
}

/// A secret that stands nowhere by chance.
fn secret() -> impl Strategy<Value = String> {
    "[!-~]{0,20}Zq7[!-~]{3,20}7qZ[!-~]{0,20}"
}

/// Whatever stands around it.
fn around() -> impl Strategy<Value = String> {
    prop_oneof!["[ -~\n\té日]{0,60}", "([a-z ]{0,20}(password|token|mysql|://|=|:|\"|'|\\\\)){0,6}"]
}

proptest! {
    #[test]
    fn a_secret_never_survives_its_name(
        before in around(), after in around(), secret in secret(), form in 0..12_usize,
        name in prop_oneof!["password", "DB_PASSWORD", "apiToken", "client-secret", "api_key", "passwd"],
    ) {
        // What the caller would have to quote is quoted, as programs do.
        let plain: String = secret.chars().filter(|c| !"\\\"'`".contains(*c)).collect();
        let query: String = plain.chars().filter(|c| !"&#".contains(*c)).collect();
        let xml: String = plain.chars().filter(|c| *c != '<').collect();
        let user: String = plain.chars().filter(|c| !"/?#<>@".contains(*c)).collect();
        let (said, hidden) = match form {
            0 => (format!("{name}={plain}"), plain),
            1 => (format!("{name}: {plain}"), plain),
            2 => (format!("{name}={}", serde_json::to_string(&secret).unwrap()), secret),
            3 => (format!("{{\"{name}\":{}}}", serde_json::to_string(&secret).unwrap()), secret),
            4 => (format!("--{name} x{plain}"), plain),
            5 => (format!("{name}='{}'", secret.replace('\'', "'\\''")), secret),
            6 => (format!("/a?{name}={query}&b=c"), query),
            7 => (format!("<{name}>{xml}</{name}>"), xml),
            8 => (format!("https://joe:{user}@a/b"), user),
            9 => (format!("Authorization: Bearer {plain}"), plain),
            10 => (format!("mysql -u root -p{plain} db"), plain),
            _ => (format!("{name} => \"{plain}\""), plain),
        };
        // On a line of its own: quotes of others may stand before it.
        let text = format!("{before}\n{said}\n{after}");
        let shown = redactor().text(&text).into_owned();
        let core = &hidden[hidden.find("Zq7").unwrap()..hidden.rfind("7qZ").unwrap() + 3];
        prop_assert!(!shown.contains(core), "{text:?} shows {shown:?}");
    }

    #[test]
    fn a_token_never_survives_its_shape(before in around(), after in around(), token in prop_oneof![
        "AKIA[A-Z2-7]{16}", "gh[ps]_[A-Za-z0-9]{36}", "xoxb-[0-9]{12}-[A-Za-z0-9]{24}", "glpat-[A-Za-z0-9_-]{20}",
        "eyJ[A-Za-z0-9_-]{20}\\.[A-Za-z0-9_-]{30}\\.[A-Za-z0-9_-]{43}", "sk_live_[A-Za-z0-9]{24}",
    ]) {
        let text = format!("{before} {token} {after}");
        prop_assert!(!redactor().text(&text).contains(&token), "{text:?}");
    }

    #[test]
    fn a_private_key_never_survives_wherever_it_is_cut(
        before in around(), body in "[A-Za-z0-9+/]{64}\n[A-Za-z0-9+/]{64}\n[A-Za-z0-9+/]{30}==", cut in 0..60_usize, end in any::<bool>(),
    ) {
        let whole = format!("{before}\n-----BEGIN RSA PRIVATE KEY-----\n{body}\n-----END RSA PRIVATE KEY-----\n");
        let text = if end {
            whole[..whole.len() - cut].to_owned()
        } else {
            format!("{}\n-----END RSA PRIVATE KEY-----", &body[cut..])
        };
        let shown = redactor().text(&text).into_owned();
        for line in body.lines().skip(1) {
            prop_assert!(!shown.contains(line), "{text:?} shows {shown:?}");
        }
    }

    #[test]
    fn whatever_is_said_is_hidden_without_a_panic_and_once_for_all(text in prop_oneof![around(), any::<String>()], again in around()) {
        let redactor = redactor();
        let said = format!("{text}{again}");
        let shown = redactor.text(&said).into_owned();
        if !shown.contains(HIDDEN) {
            prop_assert_eq!(&shown, &said);
        }
        let mut draft = draft(&said);
        draft.extra = vec![("k".to_owned(), said.clone()); 3];
        let is_changed = redactor.draft(&mut draft, &mut Process::default());
        prop_assert_eq!(is_changed, draft.message != said);
        prop_assert!(draft.check().is_ok());
    }

    #[test]
    fn plain_words_and_numbers_are_left_byte_for_byte(text in "([a-oq-z0-9é日 .,;()/-]{0,12}( |\n)){0,30}") {
        let redactor = redactor();
        prop_assert!(matches!(redactor.text(&text), Cow::Borrowed(_)), "{text:?}");
    }
}

#[test]
fn the_most_pairs_of_an_event_are_looked_at() {
    let mut draft = draft("");
    draft.extra = vec![("password".to_owned(), "hunter2".to_owned()); EXTRA_PAIRS_MAX];
    assert!(redactor().draft(&mut draft, &mut Process::default()));
    assert!(draft.extra.iter().all(|(_, value)| value == HIDDEN));
}
