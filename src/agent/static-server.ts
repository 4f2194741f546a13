// Libra's own server of static files: `node static-server.ts <folder> <host> <port>`. It runs as an App's user from a copy of
// this one file, so it imports nothing but Node's own modules. Invariant: no request reaches a file outside the folder.

import { createReadStream } from 'node:fs';
import { open, realpath } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { extname, join, resolve, sep } from 'node:path';
import { pipeline } from 'node:stream/promises';

const TYPES: Readonly<Record<string, string>> = {
  '.avif': 'image/avif',
  '.css': 'text/css; charset=utf-8',
  '.csv': 'text/csv; charset=utf-8',
  '.gif': 'image/gif',
  '.htm': 'text/html; charset=utf-8',
  '.html': 'text/html; charset=utf-8',
  '.ico': 'image/x-icon',
  '.jpeg': 'image/jpeg',
  '.jpg': 'image/jpeg',
  '.js': 'text/javascript; charset=utf-8',
  '.json': 'application/json; charset=utf-8',
  '.map': 'application/json; charset=utf-8',
  '.md': 'text/markdown; charset=utf-8',
  '.mjs': 'text/javascript; charset=utf-8',
  '.mp3': 'audio/mpeg',
  '.mp4': 'video/mp4',
  '.ogg': 'audio/ogg',
  '.otf': 'font/otf',
  '.pdf': 'application/pdf',
  '.png': 'image/png',
  '.svg': 'image/svg+xml',
  '.txt': 'text/plain; charset=utf-8',
  '.wasm': 'application/wasm',
  '.wav': 'audio/wav',
  '.webm': 'video/webm',
  '.webmanifest': 'application/manifest+json',
  '.webp': 'image/webp',
  '.woff': 'font/woff',
  '.woff2': 'font/woff2',
  '.xml': 'application/xml; charset=utf-8',
  '.zip': 'application/zip',
};

const MAX_URL_CHARACTERS = 8192;
const CLOSE_TIMEOUT_MS = 10_000;

interface Found {
  readonly handle: FileHandle;
  readonly path: string;
  readonly sizeBytes: number;
  readonly modified: Date;
}

export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

/**
 * The path segments of a request target, decoded once. null where it names something that is never served: dot files, empty or
 * encoded separators, `..`, NUL, broken encoding. `.well-known` is the one dot name that browsers and certificate checks ask for.
 */
export function pathSegments(target: string): readonly string[] | null {
  const [path = ''] = target.split(/[?#]/u, 1);
  if (!path.startsWith('/') || path.length > MAX_URL_CHARACTERS) return null;
  const segments: string[] = [];
  const raw = path.slice(1).split('/');
  for (const [index, part] of raw.entries()) {
    let segment: string;
    try {
      segment = decodeURIComponent(part);
    } catch {
      return null;
    }
    if (segment === '') {
      if (index < raw.length - 1) return null;
      continue;
    }
    if (segment.includes('/') || segment.includes('\\') || segment.includes('\0')) return null;
    if (segment.startsWith('.') && segment !== '.well-known') return null;
    segments.push(segment);
  }
  return segments;
}

/** One range of RFC 9110 §14.1.2. undefined: none asked, or several, or not understood (then the whole file is the answer); null: not satisfiable. */
export function parseRange(header: string | undefined, sizeBytes: number): ByteRange | null | undefined {
  const match = /^bytes=(\d*)-(\d*)$/u.exec(header ?? '');
  const [, first = '', last = ''] = match ?? [];
  if (match === null || (first === '' && last === '')) return undefined;
  if (first === '') {
    const length = Math.min(Number(last), sizeBytes);
    return length === 0 ? null : { start: sizeBytes - length, end: sizeBytes - 1 };
  }
  const start = Number(first);
  const end = last === '' ? sizeBytes - 1 : Math.min(Number(last), sizeBytes - 1);
  if (last !== '' && Number(last) < start) return undefined;
  return start >= sizeBytes ? null : { start, end };
}

/** True where the client has this very version (weak comparison, RFC 9110 §13.1.2). */
export function matchesEtag(header: string, etag: string): boolean {
  const plain = etag.replace(/^W\//u, '');
  return header.split(',').some((item) => item.trim() === '*' || item.trim().replace(/^W\//u, '') === plain);
}

/** Opens the file, unless the path leads out of the root or through a dot name by way of a link. */
async function openFile(root: string, segments: readonly string[]): Promise<Found | 'folder' | null> {
  let handle: FileHandle | null = null;
  try {
    const path = await realpath(join(root, ...segments));
    if (path !== root && !path.startsWith(root + sep)) return null;
    const inner = path.slice(root.length).split(sep);
    if (inner.some((name) => name.startsWith('.') && name !== '.well-known')) return null;
    handle = await open(path, 'r');
    const stats = await handle.stat();
    if (stats.isFile()) return { handle, path, sizeBytes: stats.size, modified: stats.mtime };
    await handle.close();
    return stats.isDirectory() ? 'folder' : null;
  } catch {
    await handle?.close();
    return null;
  }
}

async function answer(root: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    return sendText(request, response, 405, 'Only GET and HEAD are served here.\n', { allow: 'GET, HEAD' });
  }
  const target = request.url ?? '/';
  const segments = pathSegments(target);
  if (segments === null) return sendMissing(root, request, response);
  const [path = '/'] = target.split(/[?#]/u, 1);
  let found = await openFile(root, segments);
  if (found === 'folder') {
    if (!path.endsWith('/')) {
      const query = target.slice(path.length);
      return sendText(request, response, 301, 'Moved.\n', { location: `${path}/${query}` });
    }
    found = await openFile(root, [...segments, 'index.html']);
  } else if (found !== null && path.endsWith('/')) {
    await found.handle.close();
    found = null;
  }
  // Clean addresses: /about is about.html.
  if (found === null && segments.length > 0 && !path.endsWith('/')) {
    found = await openFile(root, [...segments.slice(0, -1), `${segments.at(-1) ?? ''}.html`]);
  }
  if (found === null || found === 'folder') return sendMissing(root, request, response);
  return sendFile(found, 200, request, response);
}

/** 200.html answers for every unknown path (an app that routes in the browser), else 404.html or a line of text. */
async function sendMissing(root: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const whole = await openFile(root, ['200.html']);
  if (whole !== null && whole !== 'folder') return sendFile(whole, 200, request, response);
  const page = await openFile(root, ['404.html']);
  if (page !== null && page !== 'folder') return sendFile(page, 404, request, response);
  return sendText(request, response, 404, 'Not found.\n', {});
}

function sendText(
  request: IncomingMessage,
  response: ServerResponse,
  status: number,
  text: string,
  headers: Readonly<Record<string, string>>,
): void {
  response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8', 'content-length': Buffer.byteLength(text), ...headers });
  response.end(request.method === 'HEAD' ? undefined : text);
}

async function sendFile(found: Found, status: number, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { handle, sizeBytes, modified } = found;
  try {
    const etag = `"${sizeBytes.toString(16)}-${Math.floor(modified.getTime()).toString(16)}"`;
    const headers: Record<string, string | number> = {
      'content-type': TYPES[extname(found.path).toLowerCase()] ?? 'application/octet-stream',
      'x-content-type-options': 'nosniff',
      'cache-control': 'no-cache',
      etag,
      'last-modified': modified.toUTCString(),
      'accept-ranges': 'bytes',
    };
    if (status === 200 && isFresh(request, etag, modified)) {
      response.writeHead(304, headers).end();
      return;
    }
    const mayRange = status === 200 && (request.headers['if-range'] === undefined || request.headers['if-range'] === etag);
    const range = mayRange ? parseRange(request.headers.range, sizeBytes) : undefined;
    if (range === null) {
      response.writeHead(416, { 'content-range': `bytes */${sizeBytes}`, 'content-length': 0 }).end();
      return;
    }
    const { start, end } = range ?? { start: 0, end: sizeBytes - 1 };
    headers['content-length'] = end - start + 1;
    if (range !== undefined) headers['content-range'] = `bytes ${start}-${end}/${sizeBytes}`;
    response.writeHead(range === undefined ? status : 206, headers);
    if (request.method === 'HEAD' || end < start) {
      response.end();
      return;
    }
    await pipeline(createReadStream('', { fd: handle, start, end, autoClose: false }), response);
  } finally {
    await handle.close();
  }
}

function isFresh(request: IncomingMessage, etag: string, modified: Date): boolean {
  const known = request.headers['if-none-match'];
  if (known !== undefined) return matchesEtag(known, etag);
  const since = Date.parse(request.headers['if-modified-since'] ?? '');
  return !Number.isNaN(since) && Math.floor(modified.getTime() / 1000) * 1000 <= since;
}

/** A server of `folder`. Rejects where that is no folder. */
export async function createStaticServer(folder: string): Promise<Server> {
  const root = await realpath(resolve(folder));
  const server = createServer((request, response) => {
    request.resume();
    answer(root, request, response).catch(() => {
      // The client went, or the file could not be read to its end: then only a broken connection tells the truth.
      if (response.headersSent) response.destroy();
      else sendText(request, response, 500, 'This file cannot be read.\n', {});
    });
  });
  server.requestTimeout = 60_000;
  server.keepAliveTimeout = 65_000;
  return server;
}

async function main(folder: string, host: string, port: number): Promise<void> {
  const server = await createStaticServer(folder);
  const stop = (): void => {
    server.close(() => process.exit(0));
    server.closeIdleConnections();
    setTimeout(() => process.exit(0), CLOSE_TIMEOUT_MS).unref();
  };
  process.once('SIGTERM', stop);
  process.once('SIGINT', stop);
  server.listen(port, host, () => process.stdout.write(`Serving ${folder} on http://${host}:${port}\n`));
}

if (import.meta.main) {
  const [folder = '.', host = '127.0.0.1', port = '8080'] = process.argv.slice(2);
  main(folder, host, Number(port)).catch((error: unknown) => {
    process.stderr.write(`The folder cannot be served: ${error instanceof Error ? error.message : String(error)}\n`);
    process.exit(1);
  });
}
