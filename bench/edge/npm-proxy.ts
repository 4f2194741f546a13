// The proxy from npm that does most with a second of CPU among those that are kept and still install: fast-proxy, which puts undici
// behind node:http (22,000 small requests per CPU-second; httpxy 11,600 and @fastify/http-proxy 10,000 beside it). It is no dependency:
// it is installed into a folder of its own, once, and left out where there is no registry.

import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { programRoot } from '../../src/roles/program.ts';
import { PROXY_CORE, startProgram } from './program.ts';
import { folderOf, proxyOf, takePorts } from './proxies.ts';
import type { Proxy } from './proxies.ts';
import type { Setting } from './setting.ts';

const PACKAGE = 'fast-proxy';
const VERSION = '2.2.0';
const INSTALL_MS = 60_000;

/** @param words plain port, TLS port, port of the upstream, access log, certificate, key. */
const SERVER = `import { createWriteStream, readFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import fastProxy from '${PACKAGE}';
const [plain, tls, upstream, file, cert, key] = process.argv.slice(2);
const { proxy } = fastProxy({ base: 'http://127.0.0.1:' + upstream, undici: { connections: 256, pipelining: 1 } });
const log = createWriteStream(file, { flags: 'a' });
const forwarded = (scheme) => (request, response) => {
  const began = performance.now();
  response.on('finish', () => {
    const { method, url, headers } = request;
    const line = { at: new Date().toISOString(), client: request.socket.remoteAddress, method, host: headers.host, url, status: response.statusCode, ms: performance.now() - began };
    log.write(JSON.stringify(line) + '\\n');
  });
  proxy(request, response, request.url, {
    rewriteRequestHeaders: (_, headers) => ({ ...headers, 'x-forwarded-for': request.socket.remoteAddress, 'x-forwarded-proto': scheme }),
  });
};
http.createServer(forwarded('http')).listen(Number(plain), '127.0.0.1');
https.createServer({ cert: readFileSync(cert), key: readFileSync(key) }, forwarded('https')).listen(Number(tls), '127.0.0.1');
`;

/** Its folder; null where it cannot be installed. */
function install(): string | null {
  const folder = join(programRoot, `node_modules/.cache/bench/${PACKAGE}-${VERSION}`);
  if (existsSync(join(folder, 'node_modules', PACKAGE))) return folder;
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ private: true, type: 'module', dependencies: { [PACKAGE]: VERSION } }));
  const flags = ['--ignore-scripts', '--no-audit', '--no-fund', '--no-package-lock', '--loglevel=error', '--fetch-retries=0'];
  const { status } = spawnSync('npm', ['install', ...flags], { cwd: folder, stdio: 'ignore', timeout: INSTALL_MS });
  return status === 0 ? folder : null;
}

/** Null where it cannot be installed. */
export async function startNpmProxy(setting: Setting): Promise<Proxy | null> {
  const installed = install();
  if (installed === null) return null;
  const folder = folderOf(setting, 'npm');
  const ports = await takePorts();
  const program = join(installed, 'server.mjs');
  writeFileSync(program, SERVER);
  const { chainFile, keyFile } = setting.certificate;
  const words = [ports.plain, ports.tls, setting.upstreamPort, join(folder, 'access.log'), chainFile, keyFile];
  return {
    ...proxyOf(
      PACKAGE,
      await startProgram({
        name: PACKAGE,
        argv: [process.execPath, program, ...words.map(String)],
        core: PROXY_CORE,
        output: join(folder, 'output.log'),
        port: ports.plain,
      }),
      ports,
    ),
    h2: false,
  };
}
