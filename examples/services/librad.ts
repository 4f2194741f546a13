// A client of the services that Librad provides to Apps: one file without dependencies, to be copied into an App. Node runs it as it is
// from 22.18 on. `createLibrad(process.env)` finds everything that it needs in the variables of an Instance.

import { readFile } from 'node:fs/promises';

export interface Entry {
  readonly key: string;
  readonly value: string;
  readonly encoding: 'text' | 'base64';
  readonly version: string;
  readonly expiresAtMs: number | null;
  readonly updatedAtMs: number;
}

export type Change =
  | ({ readonly kind: 'put' } & Entry)
  | { readonly kind: 'delete'; readonly key: string }
  /** All that there is, up to here, has been told. */
  | { readonly kind: 'synced' }
  /** What was told before may be old: what there is now follows. */
  | { readonly kind: 'reset' };

export interface PutOptions {
  readonly encoding?: 'text' | 'base64';
  readonly ttlMs?: number;
  /** Only at this version; null: only where there is no such key. */
  readonly ifVersion?: string | null;
  /** Only while this lock is held. */
  readonly lock?: { readonly name: string; readonly fence: number };
}

export interface Holder {
  readonly instance: string;
  readonly entrypoint: string;
  readonly fence: number;
  readonly value: string;
  readonly sinceMs: number;
}

export interface Lock {
  readonly name: string;
  /** Greater than of whoever held it before: send it with whatever you write. */
  readonly fence: number;
  /** Aborts when it is lost, or may be: stop at once what is done under it. */
  readonly lost: AbortSignal;
  release(): Promise<void>;
}

export interface LockOptions {
  /** It ends so long after the last renewal; default 15,000. */
  readonly ttlMs?: number;
  /** How long to wait for it; default 0. */
  readonly waitMs?: number;
  /** What others may read. */
  readonly value?: string;
  /** Ends the waiting. */
  readonly signal?: AbortSignal;
}

export interface Librad {
  readonly kv: {
    get(key: string): Promise<Entry | null>;
    /** The new version; null where `ifVersion` or `lock` did not hold. */
    put(key: string, value: string, options?: PutOptions): Promise<string | null>;
    delete(key: string): Promise<boolean>;
    list(prefix?: string): AsyncGenerator<Entry, void, undefined>;
    /** What there is, and then every change, over all breaks, until the signal aborts. */
    watch(prefix: string, signal: AbortSignal): AsyncGenerator<Change, void, undefined>;
  };
  readonly locks: {
    /** null where somebody else holds it. It is renewed until it is released or lost. */
    acquire(name: string, options?: LockOptions): Promise<Lock | null>;
    holder(name: string): Promise<Holder | null>;
    /** Who holds it, now and whenever that changes. */
    watch(name: string, signal: AbortSignal): AsyncGenerator<Holder | null, void, undefined>;
  };
  readonly config: {
    get(at?: 'deployed' | 'newest'): Promise<Config>;
    watch(at: 'deployed' | 'newest', signal: AbortSignal): AsyncGenerator<Config, void, undefined>;
  };
  readonly discovery: {
    get(): Promise<Discovery>;
    watch(signal: AbortSignal): AsyncGenerator<Discovery, void, undefined>;
  };
}

export interface Config {
  readonly variables: readonly {
    readonly name: string;
    readonly value: string;
    readonly version: number | null;
    readonly isOutdated: boolean;
  }[];
  readonly files: readonly {
    readonly path: string;
    readonly contentBase64: string;
    readonly version: number;
    readonly isOutdated: boolean;
  }[];
}

export interface Discovery {
  readonly app: string;
  readonly environment: string;
  readonly url: string | null;
  readonly entrypoints: readonly { readonly name: string; readonly wanted: number; readonly healthy: number }[];
  readonly services: readonly {
    readonly service: string;
    readonly environment: string | null;
    /** Below LIBRA_APIPROXY. */
    readonly path: string;
    readonly host: string;
    readonly healthy: number | null;
    readonly problem: string | null;
  }[];
}

/** What a service refuses with. Below 500 nothing was done; else, or without a status, it may have been. */
export class LibradError extends Error {
  readonly status: number | null;
  readonly code: string;
  constructor(message: string, status: number | null, code: string, options?: ErrorOptions) {
    super(message, options);
    this.status = status;
    this.code = code;
  }
}

type Variables = Readonly<Record<string, string | undefined>>;
type Json = Readonly<Record<string, unknown>>;

/** How much longer than usual an answer may take, and what ends it earlier. */
interface Waiting {
  readonly ms?: number;
  readonly signal?: AbortSignal | undefined;
}

const CALL_MS = 10_000;
/** Heartbeats come every 15 s. */
const SILENCE_MS = 45_000;
/** Another control plane takes over within some five seconds. */
const PATIENCE_MS = 20_000;
const PAUSE_MS = 250;

export function createLibrad(variables: Variables): Librad {
  const urlOf = (service: string, path: string): string => {
    const base = variables[`LIBRA_SERVICE_LIBRAD_${service.toUpperCase()}`];
    if (base === undefined) throw new LibradError(`librad.${service} is not in \`uses\` of this App's libra.yaml`, null, 'not_used');
    return base + path;
  };

  const send = async (url: string, init: RequestInit): Promise<Response> => {
    const token = await readFile(variables['LIBRA_IDENTITY_FILE'] ?? '', 'utf8');
    const headers = { ...init.headers, 'x-libra-identity': token.trim(), 'content-type': 'application/json' };
    const reply = await fetch(url, { ...init, headers });
    if (reply.ok) return reply;
    const problem = (await reply.json().catch(() => ({}))) as { code?: string; detail?: string; details?: { untouched?: boolean } };
    const untouched = problem.details?.untouched === true ? 'untouched' : (problem.code ?? 'unknown');
    throw new LibradError(problem.detail ?? `HTTP ${reply.status}`, reply.status, untouched);
  };

  /** Asks again where that cannot do harm: a read, or what nobody has begun to carry out. */
  const call = async (service: string, method: string, path: string, body?: Json, wait: Waiting = {}): Promise<Json> => {
    const endMs = performance.now() + PATIENCE_MS;
    for (;;) {
      try {
        const init = {
          method,
          signal: AbortSignal.any([AbortSignal.timeout(CALL_MS + (wait.ms ?? 0)), ...(wait.signal === undefined ? [] : [wait.signal])]),
          ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        };
        return (await (await send(urlOf(service, path), init)).json()) as Json;
      } catch (error) {
        const known = error instanceof LibradError ? error : null;
        if (known !== null && (known.code === 'not_used' || (known.status ?? 500) < 500)) throw known;
        const isSafe = method === 'GET' || known?.code === 'untouched';
        if (!isSafe || performance.now() > endMs || wait.signal?.aborted === true)
          throw known ?? new LibradError(String(error), null, 'unknown', { cause: error });
        await pause(PAUSE_MS);
      }
    }
  };

  /** Events over all breaks; null where the service says that the last id is too old. */
  async function* events(service: string, path: string, signal: AbortSignal): AsyncGenerator<Json | null, void, undefined> {
    let lastEventId = '';
    while (!signal.aborted) {
      const silence = new AbortController();
      let timer = setTimeout(() => silence.abort(), SILENCE_MS);
      try {
        const headers: Record<string, string> = lastEventId === '' ? {} : { 'last-event-id': lastEventId };
        const reply = await send(urlOf(service, path), { headers, signal: AbortSignal.any([signal, silence.signal]) });
        let text = '';
        for await (const chunk of (reply.body ?? new ReadableStream()).pipeThrough(new TextDecoderStream())) {
          clearTimeout(timer);
          timer = setTimeout(() => silence.abort(), SILENCE_MS);
          text += chunk;
          const blocks = text.split('\n\n');
          text = blocks.pop() ?? '';
          for (const block of blocks) {
            const fields = new Map(block.split('\n').map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 2)]));
            if (fields.get('event') === 'end') return;
            const data = JSON.parse(fields.get('data') ?? 'null') as Json | null;
            if (fields.get('event') === 'problem')
              throw new LibradError(String(data?.['detail']), Number(data?.['status']), String(data?.['code']));
            if (data === null) continue;
            yield data;
            lastEventId = fields.get('id') ?? lastEventId;
          }
        }
      } catch (error) {
        if (signal.aborted) return;
        const status = error instanceof LibradError ? error.status : null;
        if (status === 410) {
          lastEventId = '';
          yield null;
        } else if (status !== null && status < 500 && status !== 429) throw error;
      } finally {
        clearTimeout(timer);
        silence.abort();
      }
      await pause(PAUSE_MS);
    }
  }

  async function* list(prefix = ''): AsyncGenerator<Entry, void, undefined> {
    for (let cursor = ''; ;) {
      const page = await call('kv', 'GET', `/keys?${new URLSearchParams({ prefix, ...(cursor === '' ? {} : { cursor }) }).toString()}`);
      yield* page['items'] as readonly Entry[];
      if (page['next'] === null) return;
      cursor = String(page['next']);
    }
  }

  const acquire = async (name: string, { ttlMs = 15_000, waitMs = 0, value = '', signal }: LockOptions = {}): Promise<Lock | null> => {
    const lease = crypto.randomUUID();
    const path = `/names/${encodeURIComponent(name)}`;
    let untilMs = performance.now() + ttlMs;
    const held = await call('locks', 'POST', `${path}/acquire`, { lease, ttlMs, waitMs, value }, { ms: waitMs, signal }).catch(
      (error: unknown) => {
        if (error instanceof LibradError && error.status === 409) return null;
        throw error;
      },
    );
    if (held === null) return null;
    untilMs += Number(held['waitedMs']);
    const lost = new AbortController();
    const renew = async (): Promise<void> => {
      while (!lost.signal.aborted) {
        await pause(Math.max(0, Math.min(ttlMs / 3, untilMs - performance.now())), lost.signal);
        if (lost.signal.aborted) return;
        const askedMs = performance.now();
        const left = AbortSignal.timeout(Math.max(1, Math.floor(untilMs - askedMs)));
        try {
          await send(urlOf('locks', `${path}/renew`), { method: 'POST', body: JSON.stringify({ lease }), signal: left });
          untilMs = askedMs + ttlMs;
        } catch (error) {
          const isRefused = error instanceof LibradError && error.status === 412;
          if (isRefused || performance.now() >= untilMs) lost.abort(new Error(`the lock ${name} is lost`, { cause: error }));
          else await pause(PAUSE_MS, lost.signal);
        }
      }
    };
    void renew();
    // Also where a renewal hangs.
    const watchdog = (): void => {
      const leftMs = untilMs - performance.now();
      if (leftMs <= 0) lost.abort(new Error(`the lock ${name} is lost`));
      else if (!lost.signal.aborted) setTimeout(watchdog, leftMs).unref();
    };
    watchdog();
    return {
      name,
      fence: Number(held['fence']),
      lost: lost.signal,
      release: async () => {
        lost.abort(new Error(`the lock ${name} was released`));
        await call('locks', 'POST', `${path}/release`, { lease });
      },
    };
  };

  return {
    kv: {
      get: async (key) =>
        await call('kv', 'GET', `/keys/${encodeURIComponent(key)}`).then(
          (entry) => entry as unknown as Entry,
          (error: unknown) => {
            if (error instanceof LibradError && error.status === 404) return null;
            throw error;
          },
        ),
      put: async (key, value, options = {}) =>
        await call('kv', 'PUT', `/keys/${encodeURIComponent(key)}`, { value, ...options }).then(
          ({ version }) => String(version),
          (error: unknown) => {
            if (error instanceof LibradError && error.status === 412) return null;
            throw error;
          },
        ),
      delete: async (key) => (await call('kv', 'DELETE', `/keys/${encodeURIComponent(key)}`))['deleted'] === true,
      list,
      watch: async function* (prefix, signal) {
        for await (const change of events('kv', `/watch?${new URLSearchParams({ prefix }).toString()}`, signal))
          yield change === null ? { kind: 'reset' } : (change as unknown as Change);
      },
    },
    locks: {
      acquire,
      holder: async (name) => (await call('locks', 'GET', `/names/${encodeURIComponent(name)}`))['holder'] as Holder | null,
      watch: async function* (name, signal) {
        for await (const lock of events('locks', `/names/${encodeURIComponent(name)}/watch`, signal))
          if (lock !== null) yield lock['holder'] as Holder | null;
      },
    },
    config: {
      get: async (at = 'deployed') => (await call('config', 'GET', `?at=${at}`)) as unknown as Config,
      watch: async function* (at, signal) {
        for await (const config of events('config', `/watch?at=${at}`, signal)) if (config !== null) yield config as unknown as Config;
      },
    },
    discovery: {
      get: async () => (await call('discovery', 'GET', '')) as unknown as Discovery,
      watch: async function* (signal) {
        for await (const found of events('discovery', '/watch', signal)) if (found !== null) yield found as unknown as Discovery;
      },
    },
  };
}

function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener(
      'abort',
      () => {
        clearTimeout(timer);
        resolve();
      },
      { once: true },
    );
  });
}
