// Hosts and how they come to their certificates. Where an ACME authority is set, every routed host that it can know is ordered, renewed a
// third of its life before its end, and tried again more and more seldom where that fails; until then the platform's own authority stands in.

import { isIP } from 'node:net';
import type { TableCertificate } from '../../api/dataplane.ts';
import type { ReplyOf } from '../../api/endpoint.ts';
import type { table } from '../../api/table.ts';
import { backoffMs } from '../../lib/backoff.ts';
import { within } from '../../lib/deadline.ts';
import { Failure, messageOf } from '../../lib/failure.ts';
import { canonicalHost } from '../../model/host.ts';
import { isHostName } from '../../model/names.ts';
import { create, remove, update } from '../../store/records.ts';
import { runProgram } from '../../sys/run-program.ts';
import type { Sealer } from '../config/sealer.ts';
import type { ControlContext, Reconciler } from '../context.ts';
import { environmentRecords } from '../deploys/records.ts';
import type { NounHandlers } from '../handler.ts';
import type { Routing } from '../routing/routing.ts';
import { createAcme } from './acme.ts';
import type { AnswerChallenge, OrderCertificate, Proof } from './acme.ts';
import { createResolve } from './resolve.ts';
import type { Resolve } from './resolve.ts';
import { sealedAs } from './certificates.ts';
import { challengeCertificate } from './challenge-certificate.ts';
import { domainRecords } from './records.ts';
import type { Domain } from './records.ts';

const EVERY_MS = 600_000;
/** Orders at a time. */
const ABREAST = 4;
/** Between looks for a free place among them. */
const PLACE_MS = 1_000;
/** With one of the proofs. */
const ORDER_MS = 150_000;
/** Until what could not be kept is tried again. */
const KEEP_MS = 60_000;
/** Of one call of the hook, which waits until the record can be seen. */
const HOOK_MS = 120_000;
const IN_FORCE_MS = 10_000;
/** A host that was ordered on demand and has no certificate is forgotten when nobody has asked for it for so long. */
const UNWANTED_MS = 24 * 3_600_000;
const ON_DEMAND = 10_000;
/**
 * First orders on demand: so many in a row, then one each so often. An App that says yes to everything shall not spend for others what the
 * authority grants: Let's Encrypt takes 300 in three hours.
 */
const ON_DEMAND_BURST = 20;
const ON_DEMAND_EVERY_MS = 40_000;
/** Authorities count what fails: Let's Encrypt takes five in an hour for a host. */
const RETRY = { minMs: 300_000, maxMs: 6 * 3_600_000 } as const;

const NO_ADDRESS = 'DNS has no address for it';

/** Names that no public authority issues for (RFC 2606, RFC 6761, RFC 6762, RFC 8375). */
const PRIVATE = /(?:^|\.)(?:localhost|local|test|example|invalid|internal|lan|home\.arpa)$/u;

/** Whether a public authority can know the name; `wildcards`: it is proven by DNS, without which no wildcard is issued. */
export function isOrderable(host: string, wildcards: boolean): boolean {
  const isWildcard = host.startsWith('*.');
  const base = isWildcard ? host.slice(2) : host;
  return (wildcards || !isWildcard) && base.includes('.') && isIP(base) === 0 && !PRIVATE.test(base);
}

type DomainView = ReplyOf<typeof table.domains.list>['items'][number];

export interface DomainsDeps {
  readonly sealer: Sealer;
  readonly routing: Pick<
    Routing,
    'hosts' | 'setChallenges' | 'certificatesChanged' | 'everywhere' | 'onDemandCovers' | 'certifyAlso' | 'onWanted'
  >;
  readonly authorityPem: string;
  /** In place of the authority of the settings. */
  readonly order?: OrderCertificate;
  /** In place of DNS. */
  readonly resolve?: Resolve;
}

export interface Domains {
  readonly handlers: { readonly domains: NounHandlers<typeof table.domains> };
  readonly reconcilers: readonly Reconciler[];
  /** What is being ordered is not waited for. */
  stop(): void;
}

export function createDomains(context: ControlContext, deps: DomainsDeps): Domains {
  const { view, clock, random, settings } = context;
  const { routing, sealer } = deps;
  const order = deps.order ?? (settings.acme === null ? null : createAcme(context, sealer, settings.acme));
  const resolve = deps.resolve ?? createResolve(settings.acme?.resolvers ?? []);
  const challenges = new Map<string, string>();
  const challengeCertificates = new Map<string, TableCertificate>();
  /** From the beginning of an order until what came of it is kept. */
  const ordering = new Set<string>();
  const outcomes = new Map<string, Domain>();
  let stopped = false;

  /** Shows the answer until it is taken back. */
  const show = async <T>(answers: Map<string, T>, key: string, value: T): Promise<() => Promise<void>> => {
    const tell = (): void =>
      routing.setChallenges({
        challenges: Object.fromEntries(challenges),
        challengeCertificates: [...challengeCertificates.values()],
      });
    answers.set(key, value);
    tell();
    if (!(await routing.everywhere(IN_FORCE_MS)))
      context.log.warn({}, 'an Edge has no challenge of the ACME authority yet; asking all the same');
    return async () => {
      answers.delete(key);
      tell();
    };
  };

  const hook = settings.acme?.dnsHook ?? null;

  const answer: AnswerChallenge = async (challenge) => {
    if (challenge.type === 'dns-01') {
      const call = (verb: 'set' | 'remove'): Promise<void> =>
        runProgram([...(hook?.argv ?? []), verb, challenge.name, challenge.value], { env: hook?.env ?? {}, timeoutMs: HOOK_MS });
      await call('set');
      return () =>
        call('remove').catch((error: unknown) => context.log.warn({ error, name: challenge.name }, 'the TXT record is left behind'));
    }
    const { value } = challenge;
    return challenge.type === 'http-01'
      ? show(challenges, challenge.token, value)
      : show(challengeCertificates, challenge.host, challengeCertificate(challenge.host, value, context));
  };

  /** One after the other until one proves it, that of the last time first: a firewall may let through but one of the ports. */
  const proofsOf = ({ certificate, onDemandSinceMs }: Domain): readonly Proof[] => {
    if (hook !== null && onDemandSinceMs === undefined) return ['dns-01'];
    return certificate?.provenBy === 'tls-alpn-01' ? ['tls-alpn-01', 'http-01'] : ['http-01', 'tls-alpn-01'];
  };

  const outcomeOf = async (ask: OrderCertificate, domain: Domain): Promise<Domain> => {
    const host = domain.id;
    // DNS may prove it by a record while no address is there yet.
    const addresses = hook === null || domain.onDemandSinceMs !== undefined ? await resolve(host) : null;
    const known = addresses === null ? {} : { addresses };
    if (addresses?.length === 0 && domain.certificate === null) {
      const orderAtMs = clock.now() + backoffMs(0, RETRY, random);
      return { ...domain, ...known, reason: NO_ADDRESS, orderAtMs };
    }
    const reasons: string[] = addresses?.length === 0 ? [NO_ADDRESS] : [];
    for (const provenBy of reasons.length === 0 ? proofsOf(domain) : []) {
      try {
        const { chainPem, keyPem, fromMs, untilMs } = await within(clock, ORDER_MS, 'The order', ask(host, provenBy, answer));
        const lifeMs = untilMs - fromMs;
        return {
          ...domain,
          ...known,
          certificate: { chainPem, sealedKey: sealer.seal(Buffer.from(keyPem), sealedAs(host)), fromMs, untilMs, provenBy },
          failures: 0,
          reason: null,
          // Those that were ordered together are not renewed together.
          orderAtMs: clock.now() + backoffMs(0, { minMs: (lifeMs * 2) / 3, maxMs: Infinity }, random),
        };
      } catch (error) {
        reasons.push(`${provenBy}: ${messageOf(error).slice(0, 300)}`);
      }
    }
    const orderAtMs = clock.now() + backoffMs(domain.failures, RETRY, random);
    return { ...domain, ...known, failures: domain.failures + 1, reason: reasons.join('; '), orderAtMs };
  };

  const tell = ({ id: host, certificate, failures, reason }: Domain): void => {
    if (reason === null) {
      const until = certificate === null ? '' : ` until ${new Date(certificate.untilMs).toISOString().slice(0, 10)}`;
      context.event({ level: 'info', kind: 'domain.issued', message: `${host} has a certificate${until}.`, subject: {} });
    } else if (failures > 0 && (failures & (failures - 1)) === 0) {
      const message = `${host} gets no certificate: ${reason}`;
      context.event({ level: 'warning', kind: 'domain.failed', message, subject: {}, runbook: 'certificate-refused' });
    }
  };

  /** Beside the passes: an authority takes its time, and other hosts shall not wait for it. Never rejects. */
  const carryOut = async (ask: OrderCertificate, domain: Domain): Promise<void> => {
    ordering.add(domain.id);
    outcomes.set(domain.id, await outcomeOf(ask, domain));
    // An order cannot be broken off: one that outlives the platform is ordered again by the next.
    if (!stopped) await keep(domain.id);
  };

  /** Where it cannot be kept, such as on a full disk, it is held for another try: orders are counted by the authority. Never rejects. */
  const keep = async (host: string): Promise<void> => {
    const next = outcomes.get(host);
    if (next === undefined) return;
    // Taken: a pass meanwhile shall not keep it a second time.
    outcomes.delete(host);
    try {
      const stored = view.get(domainRecords, host);
      if (stored !== undefined) {
        // Meanwhile it may have been asked for again.
        const { onDemandSinceMs } = stored.document;
        await view.commit(update(domainRecords, stored, onDemandSinceMs === undefined ? next : { ...next, onDemandSinceMs }));
        certifyOnDemand();
        if (next.reason === null) routing.certificatesChanged();
        tell(next);
      }
    } catch (error) {
      context.log.warn({ error, host }, 'what came of the order of a certificate cannot be kept yet');
      outcomes.set(host, next);
      return;
    }
    ordering.delete(host);
  };

  const run = async (signal: AbortSignal): Promise<number | undefined> => {
    const routed = new Set(routing.hosts());
    for (const host of routed) {
      const stored = view.get(domainRecords, host);
      if (stored === undefined) {
        if (whyNot(host) === null)
          await view.commit(create(domainRecords, { id: host, certificate: null, failures: 0, reason: null, orderAtMs: clock.now() }));
      } else if (stored.document.onDemandSinceMs !== undefined) {
        const { onDemandSinceMs: _, ...named } = stored.document;
        await view.commit(update(domainRecords, stored, named));
      }
    }
    // A copy: what cannot be kept goes back into the map, at its end.
    const held = [...outcomes.keys()];
    for (const host of held) await keep(host);
    let nextMs = clock.now() + EVERY_MS;
    for (const stored of view.list(domainRecords)) {
      const { id, orderAtMs } = stored.document;
      if (signal.aborted) return undefined;
      if (ordering.has(id)) continue;
      const isOrdered = order !== null && whyNot(id, stored.document) === null;
      if (routed.has(id) ? !isOrdered : !isOnDemand(stored.document)) {
        // What is left of its life may be wanted again.
        if (!inForce(stored.document)) await view.commit(remove(domainRecords, stored));
      } else if (!isOrdered) continue;
      else if (orderAtMs <= clock.now() && ordering.size < ABREAST) void carryOut(order, stored.document);
      else nextMs = Math.min(nextMs, orderAtMs);
    }
    certifyOnDemand();
    // What is under way may come to something that cannot be kept at once.
    return Math.max(PLACE_MS, Math.min(nextMs - clock.now(), ordering.size > 0 ? KEEP_MS : EVERY_MS));
  };

  /** It is still covered by a Route that wants it so, and has a certificate or somebody who asks for it. */
  const isOnDemand = (domain: Domain): boolean =>
    domain.onDemandSinceMs !== undefined &&
    (inForce(domain) || domain.onDemandSinceMs + UNWANTED_MS > clock.now()) &&
    routing.onDemandCovers(domain.id);

  const inForce = ({ certificate }: Domain): boolean => certificate !== null && certificate.untilMs > clock.now();

  /** Gives the Edges what they shall show for hosts that no Route names. One that is being ordered for the first time is waited for. */
  const certifyOnDemand = (): void => {
    const hosts = new Set<string>();
    for (const { document: domain } of view.list(domainRecords)) {
      const isAnswered = inForce(domain) || domain.reason !== null || whyNot(domain.id, domain) !== null;
      if (isAnswered && isOnDemand(domain)) hosts.add(domain.id);
    }
    routing.certifyAlso(hosts);
  };

  /** Edges say it again as long as there is no certificate, so that what cannot be kept now will be. */
  const want = async (host: string): Promise<void> => {
    if (canonicalHost(host) !== host || !isHostName(host) || !routing.onDemandCovers(host)) return;
    const onDemandSinceMs = clock.now();
    const stored = view.get(domainRecords, host);
    if (stored !== undefined) {
      if (onDemandSinceMs - (stored.document.onDemandSinceMs ?? 0) < UNWANTED_MS / 24) return;
      await view.commit(update(domainRecords, stored, { ...stored.document, onDemandSinceMs }));
      return;
    }
    const count = view.list(domainRecords).filter(({ document }) => document.onDemandSinceMs !== undefined).length;
    if (count >= ON_DEMAND) {
      context.log.warn({ host }, `there are ${ON_DEMAND} hosts with certificates on demand already; this one gets none`);
      return;
    }
    const orderAtMs = Math.max(onDemandSinceMs, nextOnDemandMs);
    nextOnDemandMs = Math.max(nextOnDemandMs, onDemandSinceMs - ON_DEMAND_BURST * ON_DEMAND_EVERY_MS) + ON_DEMAND_EVERY_MS;
    await view.commit(create(domainRecords, { id: host, certificate: null, failures: 0, reason: null, orderAtMs, onDemandSinceMs }));
  };
  let nextOnDemandMs = 0;
  /** One at a time, so that two Edges which want the same make one of it. */
  let wanting = Promise.resolve();
  const unsubscribe = routing.onWanted((hosts) => {
    for (const host of hosts) {
      wanting = wanting
        .then(() => (stopped ? undefined : want(host)))
        .catch((error: unknown) => context.log.warn({ error, host }, 'a host that is wanted on demand cannot be kept yet'));
    }
  });

  /** Why nothing is ordered for it; null: something is. */
  function whyNot(host: string, domain?: Domain): string | null {
    if (order === null) return 'no ACME authority is set';
    if (isOrderable(host, hook !== null && domain?.onDemandSinceMs === undefined)) return null;
    return isOrderable(host, true)
      ? 'a wildcard is proven by DNS only: it needs --acme-dns-hook'
      : 'no public authority can know this name';
  }

  // Before the first Edge asks for the table.
  certifyOnDemand();

  return {
    handlers: {
      domains: {
        authority: async () => ({ certificate: deps.authorityPem }),
        check: async (call) => {
          const host = call.body.host.toLowerCase();
          const stored = view.get(domainRecords, host);
          const isKnown = routing.hosts().includes(host) || (stored !== undefined && isOnDemand(stored.document));
          const why = isKnown ? whyNot(host, stored?.document) : 'no Route claims it';
          if (why !== null || stored === undefined) {
            throw new Failure('not_found', {
              message: `Nothing is ordered for ${host}: ${why ?? 'its Route is not in force yet'}.`,
              hint: '`libra domains` lists all hosts.',
            });
          }
          // One that is in force and not in trouble is let be: authorities count orders.
          const isDue = (stored.document.failures > 0 || stored.document.certificate === null) && !ordering.has(host);
          if (isDue) await view.commit(update(domainRecords, stored, { ...stored.document, orderAtMs: clock.now() }));
          return { host, ordered: isDue };
        },
        list: async () => {
          const onDemand = view.list(domainRecords).filter(({ document }) => isOnDemand(document));
          const hosts = new Set([...routing.hosts(), ...onDemand.map(({ document }) => document.id)]);
          return { items: [...hosts].toSorted().map(viewOf) };
        },
      },
    },
    reconcilers: [{ name: 'domains', everyMs: EVERY_MS, wakeOn: [environmentRecords.name, domainRecords.name], run }],
    stop: () => {
      stopped = true;
      unsubscribe();
    },
  };

  function viewOf(host: string): DomainView {
    const domain = view.get(domainRecords, host)?.document ?? null;
    const certificate = domain?.certificate ?? null;
    const isInForce = domain !== null && inForce(domain);
    const why = whyNot(host, domain ?? undefined);
    const state = ordering.has(host)
      ? 'ordering'
      : isInForce
        ? 'issued'
        : why !== null
          ? 'local'
          : (domain?.failures ?? 0) > 0
            ? 'failed'
            : 'waiting';
    return {
      host,
      issuer: isInForce ? 'acme' : 'local',
      state,
      // That there is no authority at all goes without saying.
      reason: why === null ? (domain?.reason ?? null) : order === null ? null : why,
      addresses: domain?.addresses === undefined ? null : [...domain.addresses],
      untilMs: isInForce ? (certificate?.untilMs ?? null) : null,
      onDemand: domain?.onDemandSinceMs !== undefined,
      orderAtMs: why === null ? (domain?.orderAtMs ?? null) : null,
    };
  }
}
