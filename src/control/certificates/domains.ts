// Hosts and how they come to their certificates. Where an ACME authority is set, every routed host that it can know is ordered, renewed a
// third of its life before its end, and tried again more and more seldom where that fails; until then the platform's own authority stands in.

import { isIP } from 'node:net';
import type { table } from '../../api/table.ts';
import { Failure, messageOf } from '../../lib/failure.ts';
import { create, remove, update } from '../../store/records.ts';
import type { Stored } from '../../store/collection.ts';
import { runProgram } from '../../sys/run-program.ts';
import type { Sealer } from '../config/sealer.ts';
import type { ControlContext, Reconciler } from '../context.ts';
import { environmentRecords } from '../deploys/records.ts';
import type { NounHandlers } from '../handler.ts';
import type { Routing } from '../routing/routing.ts';
import { createAcme } from './acme.ts';
import type { AnswerChallenge, OrderCertificate } from './acme.ts';
import { sealedAs } from './certificates.ts';
import { domainRecords } from './records.ts';
import type { Domain } from './records.ts';

const EVERY_MS = 600_000;
/** Orders at a time: one that hangs shall not hold the others up. */
const ABREAST = 4;
const ORDER_MS = 300_000;
/** Of one call of the hook, which waits until the record can be seen. */
const HOOK_MS = 120_000;
const IN_FORCE_MS = 10_000;
const RETRY = { minMs: 60_000, maxMs: 6 * 3_600_000 } as const;

/** Names that no public authority issues for (RFC 2606, RFC 6761, RFC 6762, RFC 8375). */
const PRIVATE = /(?:^|\.)(?:localhost|local|test|example|invalid|internal|lan|home\.arpa)$/u;

/** Whether a public authority can know the name; `wildcards`: it is proven by DNS, without which no wildcard is issued. */
export function isOrderable(host: string, wildcards: boolean): boolean {
  const isWildcard = host.startsWith('*.');
  const base = isWildcard ? host.slice(2) : host;
  return (wildcards || !isWildcard) && base.includes('.') && isIP(base) === 0 && !PRIVATE.test(base);
}

export interface DomainsDeps {
  readonly sealer: Sealer;
  readonly routing: Pick<Routing, 'hosts' | 'setChallenges' | 'certificatesChanged' | 'everywhere'>;
  readonly authorityPem: string;
  /** In place of the authority of the settings. */
  readonly order?: OrderCertificate;
}

export interface Domains {
  readonly handlers: { readonly domains: NounHandlers<typeof table.domains> };
  readonly reconcilers: readonly Reconciler[];
}

export function createDomains(context: ControlContext, deps: DomainsDeps): Domains {
  const { view, clock, random, settings } = context;
  const { routing, sealer } = deps;
  const order = deps.order ?? (settings.acme === null ? null : createAcme(context, sealer, settings.acme));
  const challenges = new Map<string, string>();
  const ordering = new Set<string>();

  /** From 0 to 1. */
  const chance = (): number => Buffer.from(random.bytes(4)).readUInt32BE() / 2 ** 32;
  const showChallenges = (): void => routing.setChallenges(Object.fromEntries(challenges));

  const hook = settings.acme?.dnsHook ?? null;
  const canOrder = (host: string): boolean => order !== null && isOrderable(host, hook !== null);

  const answer: AnswerChallenge = async (challenge) => {
    if (challenge.type === 'dns-01') {
      const call = (verb: 'set' | 'remove'): Promise<void> =>
        runProgram([...(hook?.argv ?? []), verb, challenge.name, challenge.value], { env: hook?.env ?? {}, timeoutMs: HOOK_MS });
      await call('set');
      return () =>
        call('remove').catch((error: unknown) => context.log.warn({ error, name: challenge.name }, 'the TXT record is left behind'));
    }
    const { token, value } = challenge;
    challenges.set(token, value);
    showChallenges();
    if (!(await routing.everywhere(IN_FORCE_MS)))
      context.log.warn({}, 'an Edge has no challenge of the ACME authority yet; asking all the same');
    return async () => {
      challenges.delete(token);
      showChallenges();
    };
  };

  const carryOut = async (ask: OrderCertificate, stored: Stored<Domain>, signal: AbortSignal): Promise<void> => {
    const { document: domain } = stored;
    const host = domain.id;
    let next: Domain;
    ordering.add(host);
    try {
      const made = await within(ORDER_MS, signal, ask(host, answer));
      const { chainPem, keyPem, fromMs, untilMs } = made;
      const lifeMs = untilMs - fromMs;
      next = {
        id: host,
        certificate: { chainPem, sealedKey: sealer.seal(Buffer.from(keyPem), sealedAs(host)), fromMs, untilMs },
        failures: 0,
        reason: null,
        // Those that were ordered together are not renewed together.
        orderAtMs: Math.floor(untilMs - lifeMs / 3 - (chance() * lifeMs) / 20),
      };
    } catch (error) {
      if (signal.aborted) return;
      const failures = domain.failures + 1;
      const waitMs = Math.min(RETRY.maxMs, RETRY.minMs * 2 ** Math.min(failures - 1, 20)) * (1 + chance() / 4);
      next = { ...domain, failures, reason: messageOf(error).slice(0, 500), orderAtMs: Math.floor(clock.now() + waitMs) };
    } finally {
      ordering.delete(host);
    }
    await view.commit(update(domainRecords, stored, next));
    if (next.reason === null) {
      routing.certificatesChanged();
      context.event({
        level: 'info',
        kind: 'domain.issued',
        message: `${host} has a certificate until ${dayOf(next.certificate?.untilMs)}.`,
        subject: {},
      });
    } else if ((next.failures & (next.failures - 1)) === 0) {
      const message = `${host} gets no certificate: ${next.reason}`;
      context.event({ level: 'warning', kind: 'domain.failed', message, subject: {}, runbook: 'certificate-refused' });
    }
  };

  const within = <T>(ms: number, signal: AbortSignal, promise: Promise<T>): Promise<T> =>
    new Promise((resolve, reject) => {
      const end = (): void => {
        cancel();
        signal.removeEventListener('abort', onAbort);
      };
      const onAbort = (): void => {
        end();
        reject(new Error('the platform stops'));
      };
      const cancel = clock.timer(ms, () => {
        end();
        reject(new Error(`the authority was not done within ${ms / 1_000} s`));
      });
      signal.addEventListener('abort', onAbort);
      promise.then(
        (value) => {
          end();
          resolve(value);
        },
        (error: unknown) => {
          end();
          reject(error instanceof Error ? error : new Error(String(error)));
        },
      );
    });

  const run = async (signal: AbortSignal): Promise<number | undefined> => {
    if (order === null) return undefined;
    const hosts = new Set(routing.hosts().filter(canOrder));
    for (const host of hosts) {
      if (view.get(domainRecords, host) !== undefined) continue;
      await view.commit(create(domainRecords, { id: host, certificate: null, failures: 0, reason: null, orderAtMs: clock.now() }));
    }
    const due: Stored<Domain>[] = [];
    for (const stored of view.list(domainRecords)) {
      const { id, certificate, orderAtMs } = stored.document;
      if (signal.aborted) return undefined;
      if (!hosts.has(id)) {
        // What is left of its life may be wanted again.
        if (certificate === null || certificate.untilMs <= clock.now()) await view.commit(remove(domainRecords, stored));
      } else if (orderAtMs <= clock.now() && !ordering.has(id)) due.push(stored);
    }
    const work = async (): Promise<void> => {
      for (let stored = due.shift(); stored !== undefined && !signal.aborted; stored = due.shift()) await carryOut(order, stored, signal);
    };
    await Promise.all(Array.from({ length: ABREAST }, work));
    const next = view.list(domainRecords).flatMap(({ document }) => (hosts.has(document.id) ? [document.orderAtMs] : []));
    return Math.max(1_000, Math.min(EVERY_MS, ...next.map((atMs) => atMs - clock.now())));
  };

  return {
    handlers: {
      domains: {
        authority: async () => ({ certificate: deps.authorityPem }),
        check: async (call) => {
          const host = call.body.host.toLowerCase();
          const stored = view.get(domainRecords, host);
          if (stored === undefined || !canOrder(host)) {
            const why = !routing.hosts().includes(host)
              ? 'no Route claims it'
              : order === null
                ? 'no ACME authority is set'
                : 'no public authority can know it, or it is a wildcard and there is no hook for DNS';
            throw new Failure('not_found', {
              message: `Nothing is ordered for ${host}: ${why}.`,
              hint: '`libra domains` lists all hosts.',
            });
          }
          // One that is in force and not in trouble is let be: authorities count orders.
          const isDue = stored.document.failures > 0 && !ordering.has(host);
          if (isDue) await view.commit(update(domainRecords, stored, { ...stored.document, orderAtMs: clock.now() }));
          return { host, ordered: isDue };
        },
        list: async () => ({
          items: routing
            .hosts()
            .toSorted()
            .map((host) => {
              const domain = canOrder(host) ? (view.get(domainRecords, host)?.document ?? null) : null;
              const certificate = domain?.certificate ?? null;
              const inForce = certificate !== null && certificate.untilMs > clock.now();
              return {
                host,
                issuer: inForce ? ('acme' as const) : ('local' as const),
                state: stateOf(host, inForce),
                reason: domain?.reason ?? null,
                untilMs: inForce ? certificate.untilMs : null,
                orderAtMs: domain?.orderAtMs ?? null,
              };
            }),
        }),
      },
    },
    reconcilers: [{ name: 'domains', everyMs: EVERY_MS, wakeOn: [environmentRecords.name, domainRecords.name], run }],
  };

  function stateOf(host: string, inForce: boolean): 'local' | 'waiting' | 'ordering' | 'issued' | 'failed' {
    if (!canOrder(host)) return 'local';
    if (ordering.has(host)) return 'ordering';
    if (inForce) return 'issued';
    return (view.get(domainRecords, host)?.document.failures ?? 0) > 0 ? 'failed' : 'waiting';
  }
}

function dayOf(ms: number | undefined): string {
  return ms === undefined ? '?' : new Date(ms).toISOString().slice(0, 10);
}
