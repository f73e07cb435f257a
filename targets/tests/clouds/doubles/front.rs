//! The way to a double: faults first, then Prism, then the double and the check of its answers.

use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use reqwest::redirect::Policy;

use super::contract::{Contract, file};
use super::{Answered, Asked, Double};
use crate::support::process::{Process, program, serve};

/// What goes wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is answered so, and not obeyed.
    Status(u16, Option<u32>),
    /// It is obeyed, and answered so.
    ObeyedStatus(u16),
    /// It is obeyed, and the connection breaks within the answer.
    ObeyedLost,
    /// It is obeyed, and the answer takes longer than anybody waits.
    ObeyedSlow,
    /// It is obeyed, and the answer is not of this world.
    ObeyedGarbage,
}

/// A method, a part of the path, how often, and what goes wrong.
type Planned = (&'static str, &'static str, u32, Fault);

/// A vendor, as far as its double goes.
pub struct Vendor<D> {
    /// Where it is.
    pub url: String,
    pub double: Arc<D>,
    /// What goes wrong next.
    faults: Arc<Mutex<Vec<Planned>>>,
    wrong: Arc<Mutex<Vec<String>>>,
    _prism: Process,
}

struct Front<D> {
    prism: String,
    client: reqwest::Client,
    double: Arc<D>,
    faults: Arc<Mutex<Vec<Planned>>>,
}

struct Core<D> {
    double: Arc<D>,
    contract: Contract,
    wrong: Arc<Mutex<Vec<String>>>,
}

impl<D: Double> Vendor<D> {
    /// Starts it, if Prism can be had.
    pub async fn start(double: D) -> Option<Self> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let program = program("prism", "bin/prism")?;
        let double = Arc::new(double);
        let wrong = Arc::new(Mutex::new(Vec::new()));
        let contract = Contract::read(D::CONTRACT);
        let core = web::Data::new(Core { double: Arc::clone(&double), contract, wrong: Arc::clone(&wrong) });
        let core = listen(move |service| {
            service.app_data(core.clone()).default_service(web::to(core_answer::<D>));
        });
        let (prism, port) = serve(|port| {
            let mut command = Command::new(&program);
            command.args(["proxy", "--errors", "-h", "127.0.0.1", "-p", &port.to_string()]);
            command.arg(file(D::CONTRACT)).arg(&core);
            command
        })
        .await;
        let faults = Arc::new(Mutex::new(Vec::new()));
        let client = reqwest::Client::builder().redirect(Policy::none()).no_proxy().build().unwrap();
        let front = web::Data::new(Front {
            prism: format!("http://127.0.0.1:{port}"),
            client,
            double: Arc::clone(&double),
            faults: Arc::clone(&faults),
        });
        let url = listen(move |service| {
            service.app_data(front.clone()).default_service(web::to(front_answer::<D>));
        });
        Some(Self { url, double, faults, wrong, _prism: prism })
    }

    /// Lets the next requests of a method and with this in their path go wrong.
    pub fn fail(&self, method: &'static str, path: &'static str, times: u32, fault: Fault) {
        self.faults.lock().unwrap().push((method, path, times, fault));
    }
}

impl<D> Drop for Vendor<D> {
    fn drop(&mut self) {
        let wrong = self.wrong.lock().unwrap();
        let unused = self.faults.lock().unwrap();
        if !std::thread::panicking() {
            assert!(wrong.is_empty(), "the double's answers do not fit the schema: {wrong:?}");
            assert!(unused.is_empty(), "never happened: {unused:?}");
        }
    }
}

/// A server on a thread of its own, which ends with the process.
fn listen(configure: impl Fn(&mut web::ServiceConfig) + Clone + Send + 'static) -> String {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            let server = HttpServer::new(move || App::new().configure(configure.clone()))
                .workers(1)
                .disable_signals()
                .bind("127.0.0.1:0")
                .unwrap();
            sender.send(server.addrs()[0]).unwrap();
            server.run().await.unwrap();
        });
    });
    format!("http://{}", receiver.recv().unwrap())
}

fn asked(request: &HttpRequest, body: &web::Bytes) -> Asked {
    let query = url::form_urlencoded::parse(request.query_string().as_bytes()).into_owned().collect();
    let authorization = request.headers().get("authorization").and_then(|value| value.to_str().ok());
    Asked {
        method: request.method().to_string(),
        path: request.path().to_owned(),
        query,
        authorization: authorization.unwrap_or_default().to_owned(),
        body: body.to_vec(),
    }
}

fn response(answered: Answered) -> HttpResponse {
    let mut response = HttpResponse::build(StatusCode::from_u16(answered.status).unwrap());
    match answered.body {
        Some(body) => response.json(body),
        None => response.finish(),
    }
}

async fn core_answer<D: Double>(
    request: HttpRequest,
    body: web::Bytes,
    core: web::Data<Core<D>>,
) -> HttpResponse {
    let asked = asked(&request, &body);
    let answered = core.double.answer(&asked);
    let wrong = core.contract.wrong(&asked.method, &asked.path, answered.status, answered.body.as_ref());
    if let Some(wrong) = wrong {
        core.wrong.lock().unwrap().push(format!("{} {}: {wrong}", asked.method, asked.path));
    }
    response(answered)
}

async fn front_answer<D: Double>(
    request: HttpRequest,
    body: web::Bytes,
    front: web::Data<Front<D>>,
) -> HttpResponse {
    let fault = take(&mut front.faults.lock().unwrap(), request.method().as_str(), request.path());
    if let Some(Fault::Status(status, retry_after)) = fault {
        let mut response = HttpResponse::build(StatusCode::from_u16(status).unwrap());
        if let Some(seconds) = retry_after {
            response.insert_header(("Retry-After", seconds.to_string()));
        }
        return response.json(serde_json::json!({"error": "hunter2 is what the vendor says"}));
    }
    let answered = if D::outside(request.path()) {
        response(front.double.answer(&asked(&request, &body)))
    } else {
        forward(&front, &request, body).await
    };
    match fault {
        Some(Fault::ObeyedStatus(status)) => {
            HttpResponse::build(StatusCode::from_u16(status).unwrap()).finish()
        }
        Some(Fault::ObeyedGarbage) => HttpResponse::Ok().body("<html>hunter2</html>"),
        Some(Fault::ObeyedLost) => {
            let broken = futures_util::stream::iter([
                Ok(web::Bytes::from_static(b"{")),
                Err(std::io::Error::other("the connection breaks here")),
            ]);
            HttpResponse::Ok().no_chunking(1_000).streaming(broken)
        }
        Some(Fault::ObeyedSlow) => {
            actix_web::rt::time::sleep(Duration::from_mins(1)).await;
            answered
        }
        Some(Fault::Status(..)) | None => answered,
    }
}

fn take(faults: &mut Vec<Planned>, method: &str, path: &str) -> Option<Fault> {
    let at = faults.iter().position(|(of, part, _, _)| *of == method && path.contains(part))?;
    let (_, _, times, fault) = &mut faults[at];
    let fault = *fault;
    *times -= 1;
    if *times == 0 {
        faults.remove(at);
    }
    Some(fault)
}

async fn forward<D>(front: &Front<D>, request: &HttpRequest, body: web::Bytes) -> HttpResponse {
    let url = format!("{}{}", front.prism, request.uri());
    let method = request.method().as_str().parse().unwrap();
    let mut forwarded = front.client.request(method, url).body(body.to_vec());
    for name in ["authorization", "content-type", "accept"] {
        if let Some(value) = request.headers().get(name) {
            forwarded = forwarded.header(name, value.to_str().unwrap());
        }
    }
    let answer = forwarded.send().await.unwrap();
    let status = StatusCode::from_u16(answer.status().as_u16()).unwrap();
    let bytes = answer.bytes().await.unwrap();
    if status == StatusCode::UNPROCESSABLE_ENTITY {
        eprintln!("Prism: {}", String::from_utf8_lossy(&bytes));
    }
    HttpResponse::build(status).content_type("application/json").body(bytes)
}
