// Orders certificates from an ACME authority (RFC 8555) and proves that the host is ours, by http-01 and tls-alpn-01 in turn, or by dns-01
// where there is a hook for it. The library does the protocol, lost nonces included; it is loaded with the first order.

import { X509Certificate, createHash, generateKeyPairSync } from 'node:crypto';
import { isFailure } from '../../lib/failure.ts';
import { create } from '../../store/records.ts';
import type { Sealer } from '../config/sealer.ts';
import type { AcmeSettings, ControlContext } from '../context.ts';
import { acmeAccountRecords } from './records.ts';
import type { AcmeAccount } from './records.ts';

const REQUEST_MS = 30_000;
/** Of looking again whether the authority is done. */
const LOOKS = { backoffAttempts: 15, backoffMin: 500, backoffMax: 5_000 } as const;

export interface NewCertificate {
  readonly chainPem: string;
  readonly keyPem: string;
  readonly fromMs: number;
  readonly untilMs: number;
}

export type Proof = 'http-01' | 'tls-alpn-01' | 'dns-01';

/** What the authority is going to look for: a text behind a token (RFC 8555 §8.3), a certificate (RFC 8737), or a TXT record (RFC 8555 §8.4). */
export type Challenge =
  | { readonly type: 'http-01'; readonly token: string; readonly value: string }
  | { readonly type: 'tls-alpn-01'; readonly host: string; readonly value: string }
  | { readonly type: 'dns-01'; readonly name: string; readonly value: string };

/** Makes it be there; resolves with what takes it back. */
export type AnswerChallenge = (challenge: Challenge) => Promise<() => Promise<void>>;

/** One certificate for one host. Rejects with what the authority or the network says. */
export type OrderCertificate = (host: string, proof: Proof, answer: AnswerChallenge) => Promise<NewCertificate>;

export function createAcme(context: ControlContext, sealer: Sealer, settings: AcmeSettings): OrderCertificate {
  const connect = async () => {
    const [{ default: acme }, accountKey] = await Promise.all([import('acme-client'), accountKeyOf(context, sealer, settings.directory)]);
    acme.axios.defaults.timeout = REQUEST_MS;
    const client = new acme.Client({ directoryUrl: settings.directory, accountKey, ...LOOKS });
    const contact = settings.email === null ? {} : { contact: [`mailto:${settings.email}`] };
    try {
      // The authority knows the key again (RFC 8555 §7.3.1). Asked for a new account, the library would change the old one, to nothing
      // where nobody is named, which authorities refuse.
      await client.createAccount({ onlyReturnExisting: true, ...contact });
    } catch {
      // Not there yet; or nothing can be asked, which this then says.
      await client.createAccount({ termsOfServiceAgreed: true, ...contact });
    }
    return { acme, client };
  };
  let connected: ReturnType<typeof connect> | null = null;

  const order: OrderCertificate = async (host, proof, answer) => {
    connected ??= connect();
    const { acme, client } = await connected;
    const order = await client.createOrder({ identifiers: [{ type: 'dns', value: host }] });
    for (const authorization of await client.getAuthorizations(order)) {
      if (authorization.status === 'valid') continue;
      const challenge = authorization.challenges.find(({ type }) => type === proof);
      if (challenge === undefined) throw new Error(`the authority does not offer ${proof} for it`);
      const value = await client.getChallengeKeyAuthorization(challenge);
      const takeBack = await answer(challengeOf(proof, challenge.token, authorization.identifier.value, value));
      try {
        await client.completeChallenge(challenge);
        await client.waitForValidStatus(challenge);
      } finally {
        await takeBack();
      }
    }
    const keyPem = newKey();
    const [, request] = await acme.crypto.createCsr({ altNames: [host] }, keyPem);
    const chainPem = await client.getCertificate(await client.finalizeOrder(order, request));
    const leaf = new X509Certificate(chainPem);
    if (leaf.checkHost(host.replace(/^\*/u, 'any')) === undefined) throw new Error('the authority issued a certificate for another host');
    return { chainPem, keyPem, fromMs: Date.parse(leaf.validFrom), untilMs: Date.parse(leaf.validTo) };
  };
  return async (host, proof, answer) => {
    try {
      return await order(host, proof, answer);
    } catch (error) {
      // The next one begins anew, with whatever the authority has changed.
      connected = null;
      throw error;
    }
  };
}

function challengeOf(proof: Proof, token: string, host: string, value: string): Challenge {
  if (proof === 'http-01') return { type: proof, token, value };
  if (proof === 'tls-alpn-01') return { type: proof, host, value };
  return { type: proof, name: `_acme-challenge.${host}`, value };
}

/** The key of the account with this authority; made once. */
async function accountKeyOf({ view, clock }: ControlContext, sealer: Sealer, directory: string): Promise<string> {
  const id = createHash('sha256').update(directory).digest('base64url');
  const open = (account: AcmeAccount): string => sealer.open(account.sealedKey, `acme-accounts/${id}`).toString('utf8');
  const known = view.get(acmeAccountRecords, id)?.document;
  if (known !== undefined) return open(known);
  const keyPem = newKey();
  const sealedKey = sealer.seal(Buffer.from(keyPem), `acme-accounts/${id}`);
  try {
    await view.commit(create(acmeAccountRecords, { id, directory, sealedKey, createdAtMs: clock.now() }));
    return keyPem;
  } catch (error) {
    // Another control was first.
    const made = view.get(acmeAccountRecords, id)?.document;
    if ((!isFailure(error, 'exists') && !isFailure(error, 'conflict')) || made === undefined) throw error;
    return open(made);
  }
}

function newKey(): string {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'pem', type: 'pkcs8' }).toString();
}
