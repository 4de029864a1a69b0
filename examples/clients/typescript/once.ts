/**
 * A request that takes effect once, at a service with idempotency keys. Copy this file.
 *
 * docs/clients.md of idem explains it. It needs `fetch` and WebCrypto, and no packages.
 */

/** The key of an intent. The same words have the same key in every process, and in `idem_client` for Rust. */
export async function keyOf(space: string, operation: string, id: string): Promise<string> {
  const texts = ["idem-client/1", space, operation, id].map((text) => new TextEncoder().encode(text));
  const all = new Uint8Array(texts.reduce((sum, text) => sum + 8 + text.length, 0));
  let end = 0;
  for (const text of texts) {
    new DataView(all.buffer).setBigUint64(end, BigInt(text.length));
    all.set(text, end + 8);
    end += 8 + text.length;
  }
  const bits = new Uint8Array(await crypto.subtle.digest("SHA-256", all)).slice(0, 16);
  bits[6] = (bits[6]! & 0x0f) | 0x80;
  bits[8] = (bits[8]! & 0x3f) | 0x80;
  const hex = Array.from(bits, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

/** An answer of the application, with any status. */
export interface Answer {
  status: number;
  headers: Headers;
  body: string;
}

export interface Problem {
  type?: string;
  title?: string;
  retryable?: boolean;
  safe_new_key?: boolean;
}

/** The service refuses the request because of its key, and will refuse it again. */
export class Refused extends Error {
  readonly problem: string;
  /** Whether another key can't double the effect. */
  readonly safeNewKey: boolean;

  constructor(problem: Problem) {
    super(problem.title);
    this.problem = nameOf(problem);
    this.safeNewKey = problem.safe_new_key === true;
  }
}

/** Nobody knows whether the request has had its effect. Ask again, later, with the same key and the same body. */
export class Unfinished extends Error {}

export interface Request {
  key: string;
  body: string;
  headers: Record<string, string>;
  method?: string;
  /** Milliseconds for all attempts, and for one. */
  within?: number;
  attempt?: number;
}

/** Sends the request until there is an answer, or no time is left. */
export async function once(url: string, request: Request): Promise<Answer> {
  const deadline = performance.now() + (request.within ?? 60_000);
  // Both throw if they are malformed.
  const target = new URL(url);
  const headers = new Headers({ ...request.headers, "idempotency-key": request.key });
  // Whether an earlier attempt may have had the effect.
  let isInDoubt = false;
  for (let attempts = 0; ; attempts++) {
    const left = Math.max(deadline - performance.now(), 1);
    const timeout = Math.ceil(Math.min(request.attempt ?? 10_000, left));
    const { body, method = "POST" } = request;
    const answer = await send(target, { method, headers, body, signal: AbortSignal.timeout(timeout) });
    let wait = 0;
    let last = "no answer";
    if (answer instanceof Error) {
      isInDoubt = true;
      last = String(answer.cause ?? answer);
    } else {
      const problem = problemOf(answer);
      last = `status ${answer.status}`;
      if (!isTemporary(answer, problem)) {
        if (problem.retryable === false && problem.safe_new_key !== undefined) throw new Refused(problem);
        const isSuccess = answer.status >= 200 && answer.status < 300;
        if (isInDoubt && !isSuccess && !isRecorded(answer)) throw new Unfinished(last);
        return answer;
      }
      isInDoubt ||= problem.safe_new_key !== true && answer.status !== 429;
      wait = retryAfter(answer.headers);
    }
    const pause = Math.max(wait, Math.random() * Math.min(10_000, 200 * 2 ** attempts));
    if (performance.now() + pause >= deadline) throw new Unfinished(last);
    await new Promise((resume) => setTimeout(resume, pause));
  }
}

/** Sends the request once. Redirects are not followed: otherwise a key could have an effect at two hosts. */
async function send(url: URL, options: RequestInit): Promise<Answer | Error> {
  try {
    const response = await fetch(url, { ...options, redirect: "manual" });
    return { status: response.status, headers: response.headers, body: await response.text() };
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}

/** Whether the same request gets this answer again. */
export function isRecorded(answer: Answer): boolean {
  return answer.headers.has("idempotency-expires") || answer.headers.has("idempotency-replayed");
}

/** Whether the same request can get another answer. */
function isTemporary(answer: Answer, problem: Problem): boolean {
  if (isRecorded(answer) || problem.retryable === false) return false;
  if (answer.status === 409) return nameOf(problem) === "in-flight";
  return [408, 425, 429].includes(answer.status) || answer.status >= 500;
}

/** The problem document, or nothing. */
function problemOf(answer: Answer): Problem {
  const type = answer.headers.get("content-type")?.split(";")[0]?.trim().toLowerCase();
  if (type !== "application/problem+json") return {};
  try {
    const document: unknown = JSON.parse(answer.body);
    return typeof document === "object" && document !== null ? document : {};
  } catch {
    return {};
  }
}

/** The last part of the problem's type. */
function nameOf(problem: Problem): string {
  return String(problem.type ?? "").split(/[#/]/).pop() ?? "";
}

/** The milliseconds until the next attempt, at least. */
function retryAfter(headers: Headers): number {
  const value = headers.get("retry-after")?.trim() ?? "";
  if (/^\d+$/.test(value)) return Number(value) * 1000;
  const until = Date.parse(value);
  return Number.isNaN(until) ? 0 : Math.max(0, until - Date.now());
}
