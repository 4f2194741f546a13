// Joining a platform: the token names the authority that the control plane has to be of, so that the secret in it is given to nobody else.
// A try that was broken off is repeated with the same key and gets the same answer.

import { createHash } from 'node:crypto';
import { rm, stat } from 'node:fs/promises';
import { connect } from 'node:tls';
import type { DetailedPeerCertificate } from 'node:tls';
import { createClient } from '../api/client.ts';
import { machines } from '../api/machines.ts';
import type { Clock } from '../lib/clock.ts';
import { Failure, messageOf } from '../lib/failure.ts';
import { createTlsFetch } from '../sys/http-fetch.ts';
import { CONTROL_NAME, controlParty } from '../tunnel/identity.ts';
import { keepGift, readKeptVariables } from './kept-settings.ts';
import { isOver, isRemoved, pendingMachineKey, readIdentity, readMembership, writeIdentity, writeMembership } from './membership.ts';
import type { Membership } from './membership.ts';
import type { DataPaths } from './paths.ts';

const CONNECT_MS = 10_000;

export interface JoinRequest {
  /** `https://host:port`. */
  readonly url: string;
  readonly token: string;
  readonly hostname: string;
  /** For a control plane: the address at which others reach it; null: the one that it goes to the platform from. */
  readonly apiTlsHost: string | null;
  readonly paths: DataPaths;
  readonly clock: Clock;
  /** librad runs on the data folder, and holds to what it was started with. */
  readonly isRunning: boolean;
}

/** `already`: it was one before, and the token was not used. */
export type Joined =
  | { readonly kind: 'member'; readonly membership: Membership; readonly already: boolean }
  | { readonly kind: 'control'; readonly url: string; readonly already: boolean };

/** Throws `conflict` where the data folder holds a platform of its own, `unauthenticated` where the other end is not the one of the token. */
export async function joinPlatform({ url, token, hostname, apiTlsHost, paths, clock, isRunning }: JoinRequest): Promise<Joined> {
  const target = parseUrl(url);
  const [, kind, fingerprint] = /^libra_(join|control)_[0-9a-f]{64}_([0-9a-f]{64})$/u.exec(token) ?? [];
  if (fingerprint === undefined) {
    throw new Failure('invalid_input', {
      message: 'This is not the token of an invitation.',
      hint: '`libra nodes invite` on the platform prints the whole command.',
    });
  }
  const [before, identity] = [readMembership(paths), readIdentity(paths)];
  if (before !== null && identity !== null && !isOver(identity, clock.now())) {
    const known = createClient(
      { machines },
      { url: before.urls[0], token: null, fetch: createTlsFetch(onlyParty(controlParty(identity))), clock },
    );
    if (!(await isRemoved(() => known.machines.controls({ timeoutMs: CONNECT_MS }))))
      return { kind: 'member', membership: before, already: true };
  }
  if (isRunning && before !== null)
    throw new Failure('conflict', { message: 'Libra runs here as a Node that it is no more.', hint: 'Stop it first: libra down' });
  if (before === null && (await stat(paths.masterKey).catch(() => null)) !== null) {
    if (kind === 'control' && readKeptVariables(paths) !== null) return { kind, url: target.origin, already: true };
    throw new Failure('conflict', {
      message: `The data folder ${paths.data} holds a platform of its own.`,
      hint: 'Join with another one: --data or LIBRA_DATA.',
    });
  }
  const { authorityPem, address } = await findAuthority(target, fingerprint);
  const { publicKeyPem, keyPem } = await pendingMachineKey(paths.pendingIdentity);
  const fetch = createTlsFetch(onlyParty({ ca: authorityPem, servername: CONTROL_NAME }));
  const client = createClient({ machines }, { url: target.origin, token: null, fetch, clock });
  if (kind === 'control') {
    if (before !== null)
      throw new Failure('conflict', {
        message: `This machine is Node ${before.name} of ${before.urls[0]}.`,
        hint: 'A control plane needs a data folder of its own: --data or LIBRA_DATA.',
      });
    const gift = await client.machines.joinControl({ body: { token, hostname, publicKeyPem } });
    // Where the others reach it, unless its own settings say so.
    await keepGift(paths, gift, { LIBRA_API_TLS_HOST: apiTlsHost ?? address });
    await rm(paths.pendingIdentity, { force: true });
    return { kind, url: target.origin, already: false };
  }
  const reply = await client.machines.join({ body: { token, hostname, publicKeyPem } });
  const membership: Membership = { urls: [target.origin], nodeId: reply.nodeId, name: reply.name, roles: reply.roles, address };
  await writeIdentity(paths, { nodeId: reply.nodeId, authorityPem: reply.authorityPem, certificatePem: reply.certificatePem, keyPem });
  await writeMembership(paths, membership);
  await rm(paths.pendingIdentity, { force: true });
  return { kind: 'member', membership, already: false };
}

function onlyParty<T>(party: T): () => T {
  return () => party;
}

function parseUrl(text: string): URL {
  const url = URL.parse(text);
  if (url?.protocol === 'https:' && url.pathname === '/' && url.search === '' && url.username === '') return url;
  throw new Failure('invalid_input', {
    message: `${JSON.stringify(text.slice(0, 200))} is not the address of a platform's API over TLS.`,
    hint: 'Such as https://10.0.0.1:7401; `libra nodes invite` on the platform prints it.',
  });
}

/** The authority that the other end is of, if it is the one of the token, and the address on this end. Nothing is sent before that is known. */
function findAuthority(url: URL, fingerprint: string): Promise<{ readonly authorityPem: string; readonly address: string }> {
  const port = url.port === '' ? 443 : Number(url.port);
  const host = url.hostname.replace(/^\[|\]$/gu, '');
  const hint = 'Is it the address that `libra nodes invite` printed, and open to this machine?';
  return new Promise((resolve, reject) => {
    // Who it is is what is looked at here.
    const socket = connect({ host, port, servername: CONTROL_NAME, rejectUnauthorized: false, minVersion: 'TLSv1.3' });
    const fail = (failure: Failure): void => {
      socket.destroy();
      reject(failure);
    };
    socket.setTimeout(CONNECT_MS, () =>
      fail(new Failure('timeout', { message: `${url.origin} does not answer within ${CONNECT_MS / 1000} s.`, hint })),
    );
    socket.once('error', (cause) =>
      fail(
        new Failure('unreachable', {
          message: `${url.origin} cannot be reached over TLS: ${messageOf(cause)}.`,
          hint,
          cause,
        }),
      ),
    );
    socket.once('secureConnect', () => {
      const address = socket.localAddress ?? '';
      const root = rootOf(socket.getPeerCertificate(true));
      socket.destroy();
      const found = root === null ? '' : createHash('sha256').update(root.raw).digest('hex');
      if (root !== null && found === fingerprint) resolve({ authorityPem: pemOf(root.raw), address });
      else
        reject(
          new Failure('unauthenticated', {
            message: `What answers at ${url.origin} is not the platform that the token is of. The token was not sent.`,
            hint: 'Check the address; if it is right, somebody is between this machine and the platform.',
          }),
        );
    });
  });
}

function rootOf(certificate: DetailedPeerCertificate): DetailedPeerCertificate | null {
  let at = certificate;
  // A chain ends at one that issued itself.
  for (let depth = 0; depth < 4; depth += 1) {
    const issuer = at.issuerCertificate as DetailedPeerCertificate | undefined; // absent where the chain is cut
    if (issuer === undefined || issuer.raw === undefined) return null;
    if (issuer.raw.equals(at.raw)) return at;
    at = issuer;
  }
  return null;
}

function pemOf(der: Buffer): string {
  return `-----BEGIN CERTIFICATE-----\n${(der.toString('base64').match(/.{1,64}/gu) ?? []).join('\n')}\n-----END CERTIFICATE-----\n`;
}
