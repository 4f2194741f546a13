// Where the engine listens: a socket of this machine, or TCP. TCP without TLS is root for whoever reaches it, so it is taken on loopback only.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Failure, messageOf } from '../../lib/failure.ts';

export type EngineEndpoint =
  | { readonly kind: 'unix'; readonly path: string }
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number; readonly tls: EngineTls | null };

export interface EngineTls {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

const LOOPBACK: ReadonlySet<string> = new Set(['127.0.0.1', '[::1]', 'localhost']);

/**
 * @param url `unix:///path` or `tcp://host:port`
 * @param tlsFolder holds ca.pem, cert.pem and key.pem, as Docker's own command line has them
 */
export function parseEngineEndpoint(url: string, tlsFolder: string | null): EngineEndpoint {
  if (url.startsWith('unix:///')) return { kind: 'unix', path: url.slice('unix://'.length) };
  const parsed = /^tcp:\/\/([A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\]):(\d{1,5})$/u.exec(url);
  const [, host = '', port = ''] = parsed ?? [];
  if (parsed === null) {
    throw new Failure('invalid_input', {
      message: `${JSON.stringify(url)} is no address of a Docker engine.`,
      hint: 'Give unix:///var/run/docker.sock, or tcp://host:2376 with a folder of TLS files.',
    });
  }
  if (tlsFolder === null && !LOOPBACK.has(host)) {
    throw new Failure('invalid_input', {
      message: `The Docker engine at ${host} shall be reached without TLS: whoever is on the way would be root there.`,
      hint: 'Name the folder with ca.pem, cert.pem and key.pem: --docker-tls FOLDER',
    });
  }
  return { kind: 'tcp', host: host.replace(/^\[|\]$/gu, ''), port: Number(port), tls: tlsFolder === null ? null : readTls(tlsFolder) };
}

function readTls(folder: string): EngineTls {
  const read = (name: string): string => {
    try {
      return readFileSync(join(folder, name), 'utf8');
    } catch (error) {
      throw new Failure('invalid_input', {
        message: `A TLS file of the Docker engine cannot be read: ${messageOf(error)}.`,
        hint: 'The folder of --docker-tls must hold ca.pem, cert.pem and key.pem.',
        cause: error,
      });
    }
  };
  return { ca: read('ca.pem'), cert: read('cert.pem'), key: read('key.pem') };
}
