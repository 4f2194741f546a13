// What all contestants are given: a folder, a certificate, and an upstream that is faster than any of them, on the core that makes the
// load.

import { generateKeyPairSync } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeCertificate } from '../../src/control/certificates/x509.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { systemRandom } from '../../src/lib/id.ts';
import { LOAD_CORE, freePorts, startProgram } from './program.ts';
import type { Program } from './program.ts';

/** Resolves for every client, wrk and h2load included. */
export const HOST = 'localhost';
const SMALL_BYTES = 1024;
const LARGE_BYTES = 64 * 1024;
const HOUR_MS = 3_600_000;

export interface Certificate {
  readonly chainPem: string;
  readonly keyPem: string;
  readonly chainFile: string;
  readonly keyFile: string;
  /** Both in one file, for HAProxy. */
  readonly bothFile: string;
}

export interface Setting {
  readonly folder: string;
  readonly certificate: Certificate;
  /** Answers `/small` and `/large`. */
  readonly upstreamPort: number;
  /** Takes WebSockets. */
  readonly socketsPort: number;
}

export function writeBenchCertificate(folder: string): Certificate {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const name = { commonName: HOST, organization: 'bench' };
  const now = systemClock.now();
  const chainPem = writeCertificate({
    serial: Uint8Array.of(1, ...systemRandom.bytes(8)),
    subject: name,
    publicKey,
    issuer: name,
    issuerKey: privateKey,
    issuerPublicKey: publicKey,
    fromMs: now - HOUR_MS,
    untilMs: now + 24 * HOUR_MS,
    use: { kind: 'server', names: [HOST] },
  });
  const keyPem = privateKey.export({ format: 'pem', type: 'pkcs8' }).toString();
  const files = { chainFile: join(folder, 'chain.pem'), keyFile: join(folder, 'key.pem'), bothFile: join(folder, 'both.pem') };
  writeFileSync(files.chainFile, chainPem);
  writeFileSync(files.keyFile, keyPem);
  writeFileSync(files.bothFile, chainPem + keyPem);
  return { chainPem, keyPem, ...files };
}

/** nginx that answers from memory. */
export async function startUpstream(parent: string): Promise<{ readonly program: Program; readonly port: number }> {
  const folder = join(parent, 'upstream');
  mkdirSync(folder, { recursive: true });
  const [port = 0] = await freePorts(1);
  const config = join(folder, 'nginx.conf');
  writeFileSync(
    config,
    `worker_processes 1; daemon off; pid ${folder}/nginx.pid; error_log ${folder}/error.log crit;
events { worker_connections 4096; }
http {
  access_log off; client_body_temp_path ${folder}/b; proxy_temp_path ${folder}/p; fastcgi_temp_path ${folder}/f;
  uwsgi_temp_path ${folder}/u; scgi_temp_path ${folder}/s; keepalive_requests 1000000000; keepalive_timeout 300s;
  default_type text/plain;
  server {
    listen 127.0.0.1:${port};
    set $small "${'x'.repeat(SMALL_BYTES)}";
    location / { return 200 $small; }
    location = /large { return 200 "${'$small'.repeat(LARGE_BYTES / SMALL_BYTES)}"; }
  }
}
`,
  );
  const program = await startProgram({
    name: 'upstream',
    argv: ['nginx', '-e', join(folder, 'start.log'), '-p', folder, '-c', config],
    core: LOAD_CORE,
    output: join(folder, 'output.log'),
    port,
  });
  return { program, port };
}
