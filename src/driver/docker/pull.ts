// Fetches images from registries, with the logins of a file as `docker login` writes it. What the engine reports as progress is read only
// for how it ends.

import { readFileSync } from 'node:fs';
import { Failure, isFailure, messageOf } from '../../lib/failure.ts';
import type { ImageSource } from '../contract.ts';
import type { Engine } from './engine.ts';
import { engineStatus } from './engine-http.ts';
import { fieldOf, keysOf, textOf } from './fields.ts';
import { readMessages } from './messages.ts';
import { parseReference } from './reference.ts';

/** A registry that sends nothing for so long has gone. */
const IDLE_MS = 120_000;
/** Whom Docker's own command line writes down for its own registry. */
const DOCKER_HUB = 'https://index.docker.io/v1/';

/** Value of `X-Registry-Auth` for a registry; null: the file has no login for it. */
export function registryLogin(file: string, registry: string | null): string | null {
  const config = readLogins(file);
  for (const address of registry === null ? [DOCKER_HUB] : [registry, `https://${registry}`, `https://${registry}/v1/`]) {
    if (fieldOf(config, 'auths', address) === undefined) continue;
    return encodeHeader({ ...loginAt(config, address), serveraddress: registry ?? DOCKER_HUB });
  }
  return null;
}

/** Value of `X-Registry-Config`: every login of the file, for builds that begin with images of other registries. */
export function registryLogins(file: string): string {
  const config = readLogins(file);
  return encodeHeader(Object.fromEntries(keysOf(config, 'auths').map((address) => [address, loginAt(config, address)])));
}

/** Base64 for URLs, with its padding, which the engine insists on. */
export const encodeHeader = (value: unknown): string =>
  Buffer.from(JSON.stringify(value)).toString('base64').replaceAll('+', '-').replaceAll('/', '_');

function readLogins(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    throw new Failure('invalid_input', {
      message: `The file with registry logins, ${file}, cannot be read: ${messageOf(error)}.`,
      hint: 'Write it with `docker --config FOLDER login REGISTRY`, which makes FOLDER/config.json.',
      cause: error,
    });
  }
}

function loginAt(config: unknown, address: string): object {
  const [username = '', ...password] = Buffer.from(textOf(config, 'auths', address, 'auth') ?? '', 'base64')
    .toString('utf8')
    .split(':');
  const identitytoken = textOf(config, 'auths', address, 'identitytoken') ?? undefined;
  return { username, password: password.join(':'), identitytoken };
}

/** From its registry. `not_found`: there is none of that name, or not for us. */
export async function fetchImage(engine: Engine, reference: string, loginFile: string | null, signal: AbortSignal): Promise<void> {
  const { registry } = parseReference(reference);
  await pull(engine, reference, loginFile === null ? null : registryLogin(loginFile, registry), signal);
}

async function pull(engine: Engine, reference: string, login: string | null, signal: AbortSignal): Promise<void> {
  const { name, version, digest } = parseReference(reference);
  const idle = new AbortController();
  let timer = setTimeout(() => undefined, 0);
  const alive = (): void => {
    clearTimeout(timer);
    timer = setTimeout(
      () => idle.abort(new Failure('timeout', { message: `The registry sent nothing of ${reference} for two minutes.` })),
      IDLE_MS,
    );
  };
  try {
    alive();
    const progress = await engine.pull(name, version, login, AbortSignal.any([signal, idle.signal]), IDLE_MS);
    for await (const message of readMessages(progress)) {
      alive();
      const error = textOf(message, 'error');
      if (error !== null) throw new Failure('unreachable', { message: error });
    }
  } catch (error) {
    signal.throwIfAborted();
    if (idle.signal.aborted) throw idle.signal.reason;
    if (isFailure(error) && (engineStatus(error) !== null || error.code === 'unreachable')) throw pullFailure(error, reference);
    throw error;
  } finally {
    clearTimeout(timer);
  }
  const image = await engine.image(reference);
  if (image === null) throw new Failure('not_found', { message: `The image ${reference} is not there although it was fetched.` });
  if (digest !== null && !image.digests.some((each) => each.endsWith(`@${digest}`))) {
    throw new Failure('conflict', { message: `What the registry sent for ${reference} has another digest: ${image.digests.join(', ')}.` });
  }
}

function pullFailure(error: Failure, reference: string): Failure {
  const isMissing =
    engineStatus(error) === 404 || /manifest unknown|not found|does not exist|denied|unauthorized|no basic auth/iu.test(error.message);
  return new Failure(isMissing ? 'not_found' : 'unreachable', {
    message: `The image ${reference} cannot be fetched: ${error.message.replace(/^Docker: /u, '')}`,
    hint: isMissing
      ? 'Check its name; where the registry asks for a login, give it to librad with --docker-logins.'
      : 'Can this Node reach the registry? It is tried again.',
    cause: error,
  });
}

/** The same, of a registry of this machine's: there it has no name but its digest. */
export async function fetchFrom(engine: Engine, reference: string, from: ImageSource, signal: AbortSignal): Promise<void> {
  const source = `${from.registry}/${from.repository}@${from.digest}`;
  const { name, version } = parseReference(reference);
  await pull(engine, source, encodeHeader({ username: from.user, password: from.password, serveraddress: from.registry }), signal);
  await engine.tagImage(source, name, version);
  await engine.removeImage(source);
}
