//! Decides where a server comes from.

use anyhow::{Error, Result, bail};

use super::docker::{self, Container};
use super::install::{self, Right};
use super::local::Local;
use super::{Host, Image, Kind, Programs, programs};
use crate::interrupt;

/// A started server and its port; `why` says why it is started. A server that is installed and does not start is
/// an error. The next source is not tried then, because that would hide the fault.
pub(super) fn provide(kind: &'static dyn Kind, why: &str) -> Result<(Host, u16)> {
    if let Some(programs) = programs::find(kind) {
        return local(
            kind,
            programs,
            &[why.to_owned(), "found on this machine".to_owned()],
        );
    }
    let mut tried = vec![missing(kind)];
    match installed(kind) {
        Ok(programs) => {
            return local(
                kind,
                programs,
                &[why.to_owned(), "just installed".to_owned()],
            );
        }
        Err(error) => tried.push(format!("{error:#}")),
    }
    interrupt::check()?;
    match docker::image(kind) {
        Ok(image) => return container(kind, image, &[&[why.to_owned()], &*tried].concat()),
        Err(error) => tried.push(format!("{error:#}")),
    }
    interrupt::check()?;
    bail!(advice(kind, &tried))
}

fn local(kind: &'static dyn Kind, programs: Programs, reasons: &[String]) -> Result<(Host, u16)> {
    let local = Local::start(kind, programs, None)?;
    report(
        kind,
        &format!("started {} ({})", local.description(), summary(reasons)),
    );
    let port = local.port();
    Ok((Host::Local(local), port))
}

fn container(kind: &'static dyn Kind, image: Image, reasons: &[String]) -> Result<(Host, u16)> {
    let container = Container::start(kind, image)?;
    report(
        kind,
        &format!("started {} ({})", container.description(), summary(reasons)),
    );
    let port = container.port();
    Ok((Host::Container(container), port))
}

fn installed(kind: &dyn Kind) -> Result<Programs> {
    let right = Right::find()?;
    let packages = packages(kind);
    report(
        kind,
        &format!(
            "{}, so installing {packages} {}",
            missing(kind),
            right.description()
        ),
    );
    install::install(kind.package(), right)?;
    programs::find(kind).ok_or_else(|| Error::msg(format!("{packages} did not install it")))
}

/// One line, from the first line of each reason.
fn summary(reasons: &[String]) -> String {
    let lines: Vec<&str> = reasons
        .iter()
        .filter_map(|reason| reason.lines().next())
        .collect();
    lines.join("; ").replace(":;", ";")
}

fn missing(kind: &dyn Kind) -> String {
    let folders = kind.folders().first().copied().unwrap_or_default();
    format!(
        "no {} in the PATH, {folders} or similar folders",
        kind.programs().join(" and ")
    )
}

/// The packages, for messages.
fn packages(kind: &dyn Kind) -> String {
    let names = kind.package().names;
    let noun = if names.len() == 1 {
        "package"
    } else {
        "packages"
    };
    format!("the {noun} {}", names.join(" and "))
}

fn advice(kind: &dyn Kind, tried: &[String]) -> String {
    format!(
        "there is no {name} for the tests. Do one of these: install {name} ({packages} of Debian \
         and its kin),{docker} or set {variable} to the URL of a server that the tests may \
         change.\nWhat was tried:\n- {tried}",
        name = kind.name(),
        packages = packages(kind),
        docker = kind.image().map_or("", |_| " start Docker,"),
        variable = kind.variable(),
        tried = tried.join("\n- "),
    )
}

fn report(kind: &dyn Kind, message: &str) {
    eprintln!("xtask: {}: {message}", kind.name());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::{POSTGRES, WEBDRIVER};

    #[test]
    fn the_summary_is_one_line() {
        let reasons = ["not set", "it failed:\n  | because", "Docker works"].map(str::to_owned);
        assert_eq!(summary(&reasons), "not set; it failed; Docker works");
    }

    #[test]
    fn the_advice_names_the_package_the_variable_and_the_reasons() {
        let message = advice(&POSTGRES, &[missing(&POSTGRES), "no apt-get".to_owned()]);
        for part in [
            "postgresql",
            "IDEM_TEST_POSTGRES_URL",
            "Docker",
            "- no initdb and postgres",
            "- no apt-get",
        ] {
            assert!(message.contains(part), "{part} is not in {message}");
        }
    }

    #[test]
    fn docker_is_not_advised_where_it_does_not_help() {
        let message = advice(&WEBDRIVER, &[missing(&WEBDRIVER)]);
        assert!(
            message.contains("chromium and chromium-driver"),
            "{message}"
        );
        assert!(!message.contains("Docker"), "{message}");
        let reason = docker::image(&WEBDRIVER).unwrap_err().to_string();
        assert!(reason.contains("cannot reach"), "{reason}");
    }
}
