// A registry on loopback that serves the engine of this machine images which the platform built: read only, by digest, each part fetched from
// control by the identity of this Node when it is first asked for. Only who knows its password is answered, since programs of Apps share
// the loopback.

import { randomBytes, timingSafeEqual } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { pipeline } from 'node:stream/promises';
import type { ImageSource } from '../driver/contract.ts';
import { isFailure, messageOf } from '../lib/failure.ts';
import type { Log } from '../sys/log.ts';
import type { BundleCache } from './bundle-cache.ts';

export const IMAGE_MANIFEST = 'application/vnd.oci.image.manifest.v1+json';

export interface ImageMirror {
  /** Where an engine of this machine gets the image from. @param digest of its manifest */
  source(digest: string): Promise<ImageSource>;
  stop(): Promise<void>;
}

const USER = 'libra';
const MOST_CONNECTIONS = 64;
/** Name of the one repository that has all images. */
const REPOSITORY = 'libra';
const PATH = new RegExp(`^/v2/${REPOSITORY}/(manifests|blobs)/(sha256:[0-9a-f]{64})$`, 'u');

export function createImageMirror(bundles: Pick<BundleCache, 'open'>, log: Log): ImageMirror {
  const password = randomBytes(32).toString('hex');
  const authorization = Buffer.from(`Basic ${Buffer.from(`${USER}:${password}`).toString('base64')}`);
  const stopping = new AbortController();
  let starting: Promise<Server> | null = null;

  const isKnown = ({ headers }: IncomingMessage): boolean => {
    const given = Buffer.from(headers.authorization ?? '');
    return given.length === authorization.length && timingSafeEqual(given, authorization);
  };

  const serve = async (request: IncomingMessage, response: ServerResponse, kind: string, digest: string): Promise<void> => {
    // A fetch goes on when the engine gives up: the next try finds what came.
    const { body, sizeBytes } = await bundles.open(digest, stopping.signal);
    const [, from = '', to = ''] = /^bytes=(\d{1,15})-(\d{0,15})$/u.exec(request.headers.range ?? '') ?? [];
    const start = from === '' ? 0 : Number(from);
    const end = to === '' ? sizeBytes - 1 : Math.min(Number(to), sizeBytes - 1);
    const headers = {
      'content-type': kind === 'manifests' ? IMAGE_MANIFEST : 'application/octet-stream',
      'docker-content-digest': digest,
      'accept-ranges': 'bytes',
    };
    if (start > end && from !== '') return refuse(response, 416, 'RANGE_INVALID', { 'content-range': `bytes */${sizeBytes}` });
    response.writeHead(from === '' ? 200 : 206, {
      ...headers,
      'content-length': end - start + 1,
      ...(from === '' ? {} : { 'content-range': `bytes ${start}-${end}/${sizeBytes}` }),
    });
    if (request.method === 'HEAD') response.end();
    else await pipeline(body(start, end), response);
  };

  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    if (!isKnown(request)) return refuse(response, 401, 'UNAUTHORIZED', { 'www-authenticate': 'Basic realm="libra"' });
    if (request.method !== 'GET' && request.method !== 'HEAD') return refuse(response, 405, 'UNSUPPORTED');
    const path = (request.url ?? '').replace(/\?.*$/u, '');
    if (path === '/v2/') return void response.writeHead(200, { 'content-type': 'application/json' }).end('{}');
    const [, kind = '', digest = ''] = PATH.exec(path) ?? [];
    if (kind === '') return refuse(response, 404, 'NAME_UNKNOWN');
    try {
      await serve(request, response, kind, digest);
    } catch (error) {
      if (response.headersSent) return void response.destroy();
      const isMissing = isFailure(error, 'not_found');
      if (!isMissing) log.warn({ digest, error: messageOf(error) }, 'a part of an image cannot be had from control');
      refuse(response, isMissing ? 404 : 503, isMissing ? (kind === 'blobs' ? 'BLOB_UNKNOWN' : 'MANIFEST_UNKNOWN') : 'UNAVAILABLE');
    }
  };

  const start = async (): Promise<Server> => {
    const server = createServer((request, response) => {
      answer(request, response).catch((error: unknown) => response.destroy(error instanceof Error ? error : undefined));
    });
    server.maxConnections = MOST_CONNECTIONS;
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return server;
  };

  return {
    source: async (digest) => {
      starting ??= start();
      const address = (await starting).address();
      if (address === null || typeof address === 'string') throw new Error('the mirror does not listen');
      return { registry: `127.0.0.1:${address.port}`, repository: REPOSITORY, digest, user: USER, password };
    },
    stop: async () => {
      stopping.abort(new Error('the agent stops'));
      const server = await starting;
      if (server === null) return;
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

function refuse(response: ServerResponse, status: number, code: string, headers: Readonly<Record<string, string>> = {}): void {
  response.writeHead(status, { ...headers, 'content-type': 'application/json' });
  response.end(JSON.stringify({ errors: [{ code, message: code.toLowerCase().replaceAll('_', ' ') }] }));
}
