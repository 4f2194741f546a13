// What is said to the engine (Docker's Engine API, 1.41 and later), one function per thing said. Knows the API, and nothing of Instances.

import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import type { Duplex } from 'node:stream';
import { Failure } from '../../lib/failure.ts';
import type { RunState, Usage } from '../contract.ts';
import type { EngineEndpoint } from './endpoint.ts';
import { createEngineHttp, engineStatus, orNull } from './engine-http.ts';
import { fieldOf, keysOf, listOf, numberOf, textOf } from './fields.ts';
import { readState } from './state.ts';
import { readUsage } from './usage.ts';

/** Docker 20.10. */
const OLDEST_API = 41;
const START_MS = 60_000;
const REMOVE_MS = 60_000;
const VERSION_MS = 5000;
/** Until it has taken a gigabyte. */
const UPLOAD_MS = 600_000;
/** Until it has taken all of a copy, which may come slowly. */
const COPY_MS = 6 * 3_600_000;
/** Bits of a mode as Go has them. */
const [GO_FOLDER, GO_LINK] = [2 ** 31, 2 ** 27];

export interface ImageFacts {
  readonly id: string;
  /** Empty: root. */
  readonly user: string;
  readonly workingFolder: string;
  readonly path: string | null;
  readonly digests: readonly string[];
  /** With their tags. */
  readonly names: readonly string[];
  /** When it last got a name, UTC milliseconds; 0: that is not known. */
  readonly namedAtMs: number;
}

export interface ContainerListing {
  readonly id: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly state: string;
  /** By the names of networks. */
  readonly addresses: Readonly<Record<string, string>>;
}

export interface NetworkListing {
  readonly id: string;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly subnets: readonly string[];
}

export interface PathFacts {
  readonly isFolder: boolean;
  /** Where a link leads in the end, absolute; null: it is none. */
  readonly target: string | null;
}

export interface EngineFacts {
  readonly version: string;
  /** Where it keeps images and containers; empty: it does not say. */
  readonly rootFolder: string;
  /** Limits that its machine knows: names of `/info` that are true. */
  readonly knows: ReadonlySet<string>;
}

export interface Engine {
  facts(): Promise<EngineFacts>;
  /** null: there is none of that name. */
  image(reference: string): Promise<ImageFacts | null>;
  /** Its progress, as JSON. @param login value of `X-Registry-Auth` */
  pull(name: string, version: string, login: string | null, signal: AbortSignal, deadlineMs: number): Promise<IncomingMessage>;
  /** Its progress, as JSON. @param query as of `POST /build` @param logins value of `X-Registry-Config` */
  build(context: Readable, query: Readonly<Record<string, string>>, logins: string | null, signal: AbortSignal): Promise<IncomingMessage>;
  /** A tar of the image with its layers and names. */
  saveImage(reference: string, signal: AbortSignal): Promise<IncomingMessage>;
  /** Gives an image another name. */
  tagImage(reference: string, repository: string, tag: string): Promise<void>;
  /** Ids of those with a name in that repository. */
  imagesNamed(repository: string): Promise<readonly string[]>;
  /** Ids of those that any container was made of, whosever it is and whether it runs or not. */
  usedImages(): Promise<ReadonlySet<string>>;
  /** With all of its names. Does nothing where it is gone, or where others are made of it. */
  removeImage(id: string): Promise<void>;
  /** Deletes images with that label that no container uses, made so many seconds ago or earlier. */
  pruneImages(label: string, olderThanS: number): Promise<void>;
  createContainer(name: string, body: unknown): Promise<string>;
  startContainer(id: string): Promise<void>;
  /** The whole answer about one container. */
  inspectContainer(idOrName: string): Promise<unknown>;
  stateOf(id: string): Promise<RunState>;
  /** False where it does not run. */
  killContainer(id: string, signal: string): Promise<boolean>;
  /** Whatever state it is in. Does nothing where it is gone. */
  removeContainer(id: string): Promise<void>;
  listContainers(labels: readonly string[], network?: string): Promise<readonly ContainerListing[]>;
  /** Of the machine, to which containers that run may write: whosever they are. */
  writableFolders(): Promise<readonly string[]>;
  updateContainer(id: string, body: unknown): Promise<void>;
  usage(id: string): Promise<Usage>;
  /** Bytes that it wrote into its own file system. */
  writtenBytes(id: string): Promise<number>;
  /** Whether a path leads to something inside a container, which need not run. */
  hasPath(id: string, path: string): Promise<boolean>;
  /** What a path leads to; null: nothing. */
  statPath(id: string, path: string): Promise<PathFacts | null>;
  /** Unpacks a tar in a folder inside a container. Its entries are whose they say. */
  writePath(id: string, path: string, tar: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<void>;
  /** A tar of a path inside a container. */
  readPath(id: string, path: string): Promise<IncomingMessage>;
  logs(id: string, options: { readonly follow: boolean; readonly since: number }, signal: AbortSignal): Promise<IncomingMessage>;
  createExec(id: string, body: unknown): Promise<string>;
  startExec(exec: string, tty: boolean): Promise<Duplex>;
  resizeExec(exec: string, columns: number, rows: number): Promise<void>;
  inspectExec(exec: string): Promise<{ readonly isRunning: boolean; readonly code: number | null; readonly pid: number | null }>;
  networks(): Promise<readonly NetworkListing[]>;
  createNetwork(body: unknown): Promise<void>;
  removeNetwork(name: string): Promise<void>;
  close(): void;
}

const timeOf = (text: string | null): number => {
  const ms = Date.parse(text ?? '');
  return Number.isNaN(ms) ? 0 : Math.max(0, ms);
};

export function createEngine(endpoint: EngineEndpoint): Engine {
  const http = createEngineHttp(endpoint);
  let version: Promise<string> | null = null;

  /** The oldest version that both know, so that what is said means the same wherever it is understood. */
  const negotiate = async (): Promise<string> => {
    const answer = await http.call('GET', '/version', { deadlineMs: VERSION_MS });
    const minor = (key: string): number => Number(/^1\.(\d{1,4})$/u.exec(textOf(answer, key) ?? '')?.[1] ?? Number.NaN);
    const [newest, oldest] = [minor('ApiVersion'), minor('MinAPIVersion')];
    const chosen = Math.max(OLDEST_API, Number.isNaN(oldest) ? 0 : oldest);
    if (Number.isNaN(newest) || newest < chosen) {
      throw new Failure('unsupported', {
        message: `Docker ${textOf(answer, 'Version') ?? 'of this version'} is too old: Libra needs 20.10 or later.`,
        hint: 'Upgrade Docker, or start librad without it: --docker off',
      });
    }
    return `/v1.${chosen}`;
  };
  const at = async (path: string): Promise<string> => {
    version ??= negotiate();
    try {
      return `${await version}${path}`;
    } catch (error) {
      version = null; // it may be another one the next time
      throw error;
    }
  };
  const container = (id: string, rest = ''): Promise<string> => at(`/containers/${encodeURIComponent(id)}${rest}`);
  const call = async (...[method, path, options]: Parameters<typeof http.call>): Promise<unknown> =>
    http.call(method, await at(path), options);
  const ignoring = async (statuses: readonly number[], going: Promise<unknown>): Promise<boolean> => {
    try {
      await going;
      return true;
    } catch (error) {
      if (statuses.includes(engineStatus(error) ?? 0)) return false;
      throw error;
    }
  };
  const inspectContainer = (id: string): Promise<unknown> => call('GET', `/containers/${encodeURIComponent(id)}/json`);
  const labelsOf = (value: unknown): Record<string, string> =>
    Object.fromEntries(keysOf(value, 'Labels').map((key) => [key, textOf(value, 'Labels', key) ?? '']));

  return {
    facts: async () => {
      const info = await call('GET', '/info');
      return {
        version: textOf(info, 'ServerVersion') ?? '',
        rootFolder: textOf(info, 'DockerRootDir') ?? '',
        knows: new Set(keysOf(info).filter((key) => fieldOf(info, key) === true)),
      };
    },
    image: async (reference) => {
      const answer = await orNull(call('GET', `/images/${reference}/json`));
      if (answer === null) return null;
      const path = listOf(answer, 'Config', 'Env').find((entry) => typeof entry === 'string' && entry.startsWith('PATH='));
      return {
        id: textOf(answer, 'Id') ?? '',
        user: textOf(answer, 'Config', 'User') ?? '',
        workingFolder: textOf(answer, 'Config', 'WorkingDir') ?? '',
        path: typeof path === 'string' ? path.slice('PATH='.length) : null,
        digests: listOf(answer, 'RepoDigests').filter((entry) => typeof entry === 'string'),
        names: listOf(answer, 'RepoTags').filter((entry) => typeof entry === 'string'),
        namedAtMs: timeOf(textOf(answer, 'Metadata', 'LastTagTime')),
      };
    },
    pull: async (name, version, login, signal, deadlineMs) =>
      http.stream('POST', await at('/images/create'), {
        query: { fromImage: name, tag: version },
        headers: login === null ? {} : { 'x-registry-auth': login },
        signal,
        deadlineMs,
      }),
    build: async (context, query, logins, signal) =>
      http.stream('POST', await at('/build'), {
        query,
        headers: logins === null ? {} : { 'x-registry-config': logins },
        upload: { stream: context, type: 'application/x-tar' },
        signal,
        deadlineMs: UPLOAD_MS,
      }),
    saveImage: async (reference, signal) => http.stream('GET', await at(`/images/${reference}/get`), { signal, deadlineMs: UPLOAD_MS }),
    tagImage: async (reference, repository, tag) => {
      await call('POST', `/images/${reference}/tag`, { query: { repo: repository, tag } });
    },
    imagesNamed: async (repository) => {
      const filters = JSON.stringify({ reference: [repository] });
      return listOf(await call('GET', '/images/json', { query: { filters } })).flatMap((each) => textOf(each, 'Id') ?? []);
    },
    usedImages: async () => {
      const answer = await call('GET', '/containers/json', { query: { all: 'true' } });
      return new Set(listOf(answer).flatMap((each) => textOf(each, 'ImageID') ?? []));
    },
    removeImage: async (id) => {
      await ignoring([404, 409], call('DELETE', `/images/${id}`, { query: { force: 'true' }, deadlineMs: REMOVE_MS }));
    },
    pruneImages: async (label, olderThanS) => {
      const filters = JSON.stringify({ label: [label], dangling: ['false'], until: [`${olderThanS}s`] });
      await call('POST', '/images/prune', { query: { filters }, deadlineMs: UPLOAD_MS });
    },
    createContainer: async (name, body) => {
      const answer = await call('POST', '/containers/create', { query: { name }, body, deadlineMs: START_MS });
      const id = textOf(answer, 'Id');
      if (id === null) throw new Failure('internal', { message: 'Docker made a container and did not say which.' });
      return id;
    },
    startContainer: async (id) => {
      await http.call('POST', await container(id, '/start'), { deadlineMs: START_MS });
    },
    inspectContainer,
    stateOf: async (id) => readState(await inspectContainer(id)),
    killContainer: async (id, signal) => ignoring([404, 409], http.call('POST', await container(id, '/kill'), { query: { signal } })),
    removeContainer: async (id) => {
      const query = { force: 'true', v: 'true' };
      await ignoring([404, 409], http.call('DELETE', await container(id), { query, deadlineMs: REMOVE_MS }));
    },
    listContainers: async (labels, network) => {
      const filters = JSON.stringify({ label: labels, ...(network === undefined ? {} : { network: [network] }) });
      const answer = await call('GET', '/containers/json', { query: { all: 'true', filters } });
      return listOf(answer).map((each) => ({
        id: textOf(each, 'Id') ?? '',
        labels: labelsOf(each),
        state: textOf(each, 'State') ?? '',
        addresses: Object.fromEntries(
          keysOf(each, 'NetworkSettings', 'Networks').flatMap((name) => {
            const address = textOf(each, 'NetworkSettings', 'Networks', name, 'IPAddress') ?? '';
            return address === '' ? [] : [[name, address]];
          }),
        ),
      }));
    },
    writableFolders: async () => {
      const mounts = listOf(await call('GET', '/containers/json')).flatMap((each) => listOf(each, 'Mounts'));
      return mounts.flatMap((mount) =>
        textOf(mount, 'Type') === 'bind' && fieldOf(mount, 'RW') !== false ? (textOf(mount, 'Source') ?? []) : [],
      );
    },
    updateContainer: async (id, body) => {
      await http.call('POST', await container(id, '/update'), { body });
    },
    usage: async (id) => {
      const answer = await http.call('GET', await container(id, '/stats'), { query: { stream: 'false', 'one-shot': 'true' } });
      return readUsage(answer);
    },
    writtenBytes: async (id) => numberOf(await http.call('GET', await container(id, '/json'), { query: { size: 'true' } }), 'SizeRw') ?? 0,
    hasPath: async (id, path) => {
      const query = { path };
      return (await http.look(await container(id, '/archive'), { query })).status === 200;
    },
    statPath: async (id, path) => {
      const { status, headers } = await http.look(await container(id, '/archive'), { query: { path } });
      if (status === 404) return null;
      return pathFacts(status, headers['x-docker-container-path-stat']);
    },
    writePath: async (id, path, tar, signal) => {
      const answer = await http.stream('PUT', await container(id, '/archive'), {
        query: { path, noOverwriteDirNonDir: 'true' },
        upload: { stream: Readable.from(tar, { objectMode: false }), type: 'application/x-tar' },
        signal,
        deadlineMs: COPY_MS,
      });
      answer.resume();
    },
    readPath: async (id, path) => http.stream('GET', await container(id, '/archive'), { query: { path } }),
    logs: async (id, { follow, since }, signal) =>
      http.stream('GET', await container(id, '/logs'), {
        query: { stdout: 'true', stderr: 'true', timestamps: 'true', follow: String(follow), since: String(since) },
        signal,
      }),
    createExec: async (id, body) => textOf(await http.call('POST', await container(id, '/exec'), { body }), 'Id') ?? '',
    startExec: async (exec, tty) => http.hijack(await at(`/exec/${exec}/start`), { Detach: false, Tty: tty }),
    resizeExec: async (exec, columns, rows) => {
      await call('POST', `/exec/${exec}/resize`, { query: { w: String(columns), h: String(rows) } });
    },
    inspectExec: async (exec) => {
      const answer = await call('GET', `/exec/${exec}/json`);
      const pid = numberOf(answer, 'Pid') ?? 0;
      return { isRunning: fieldOf(answer, 'Running') === true, code: numberOf(answer, 'ExitCode'), pid: pid > 0 ? pid : null };
    },
    networks: async () => {
      const answer = await call('GET', '/networks');
      return listOf(answer).map((each) => ({
        id: textOf(each, 'Id') ?? '',
        name: textOf(each, 'Name') ?? '',
        labels: labelsOf(each),
        subnets: listOf(each, 'IPAM', 'Config').flatMap((entry) => textOf(entry, 'Subnet') ?? []),
      }));
    },
    createNetwork: async (body) => {
      await call('POST', '/networks/create', { body });
    },
    removeNetwork: async (name) => {
      await ignoring([403, 404, 409], call('DELETE', `/networks/${encodeURIComponent(name)}`));
    },
    close: () => http.close(),
  };
}

/** @param header JSON in base64, as the engine describes a path */
function pathFacts(status: number, header: string | readonly string[] | undefined): PathFacts {
  let facts: unknown = null;
  try {
    facts = JSON.parse(Buffer.from(String(header ?? ''), 'base64').toString('utf8'));
  } catch {
    // Told below.
  }
  const mode = numberOf(facts, 'mode');
  if (status !== 200 || mode === null)
    throw new Failure('unavailable', { message: `Docker does not tell what a path leads to (HTTP ${status}).` });
  const has = (bit: number): boolean => Math.floor(mode / bit) % 2 === 1;
  const target = textOf(facts, 'linkTarget') ?? '';
  return { isFolder: has(GO_FOLDER), target: has(GO_LINK) && target !== '' ? target : null };
}
