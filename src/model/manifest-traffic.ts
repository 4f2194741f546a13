// The `traffic` section of an Entrypoint: what the file may say, and what then counts.

import type { z } from 'zod';
import { either, field, isRecord, section } from './manifest-fields.ts';
import type { At } from './manifest-fields.ts';
import { bool, duration, headerName, integer, oneOf, token } from './manifest-values.ts';
import { DEFAULT_TRAFFIC, STICKY_COOKIE } from './traffic-policy.ts';
import type { Balance, EjectPolicy, RetryPolicy, TrafficPolicy } from './traffic-policy.ts';

const MINUTE_MS = 60_000;
/** Most requests that one Edge could have open at all; more would be no bound. */
const MOST_OPEN = 1_000_000;

const cookieName = token('the name of a cookie');

/** Exactly one of the keys of a mapping. */
function oneKey<S extends z.ZodType<Readonly<Record<string, unknown>>>>(choices: S, keys: readonly string[]): S {
  return choices.check((context) => {
    const given = keys.filter((key) => context.value[key] !== undefined);
    if (given.length === 1) return;
    const [first, second] = given;
    context.issues.push(
      second === undefined
        ? { code: 'custom', message: `expected one of ${keys.join(', ')}`, path: [], input: context.value }
        : { code: 'custom', message: `cannot stand next to ${first}`, path: [second], params: { at: 'key' satisfies At }, input: second },
    );
  });
}

const balanceForm = oneKey(
  section({
    hash: oneKey(section({ cookie: cookieName.optional(), header: headerName.optional() }), ['cookie', 'header']).optional(),
    sticky: section({ cookie: cookieName.optional() }).optional(),
  }),
  ['hash', 'sticky'],
);

const balance = either(oneOf(['least', 'round-robin', 'sticky']), balanceForm);

const off = field('false, or a mapping', (value) => (value === false ? value : undefined));

const eject = either(
  off,
  section({
    failures: integer(0, 1000).optional(),
    errors: integer(0, 100).optional(),
    stall: duration(0, 60 * MINUTE_MS).optional(),
    for: duration(100, 10 * MINUTE_MS).optional(),
    share: integer(0, 100).optional(),
  }),
);

export const retriesSection = either(
  off,
  section({
    attempts: integer(1, 10).optional(),
    budget: integer(0, 100).optional(),
    perTry: duration(0, 60 * MINUTE_MS).optional(),
    unsafe: bool.optional(),
  }),
);

export const trafficSection = section({
  balance: balance.optional(),
  protocol: oneOf(['http1', 'h2c']).optional(),
  maxPending: integer(1, MOST_OPEN).optional(),
  maxOpen: integer(1, MOST_OPEN).optional(),
  maxConnections: integer(1, MOST_OPEN).optional(),
  slowStart: duration(0, 10 * MINUTE_MS).optional(),
  eject: eject.optional(),
  retries: retriesSection.optional(),
});

type TrafficInput = z.output<typeof trafficSection>;

export function completeTraffic(input: TrafficInput | undefined): TrafficPolicy {
  return {
    balance: completeBalance(input?.balance),
    protocol: input?.protocol ?? DEFAULT_TRAFFIC.protocol,
    maxPending: input?.maxPending ?? DEFAULT_TRAFFIC.maxPending,
    maxOpen: input?.maxOpen ?? DEFAULT_TRAFFIC.maxOpen,
    maxConnections: input?.maxConnections ?? DEFAULT_TRAFFIC.maxConnections,
    slowStartMs: input?.slowStart ?? DEFAULT_TRAFFIC.slowStartMs,
    eject: completeEject(input?.eject),
    retries: completeRetries(input?.retries),
  };
}

function completeBalance(input: TrafficInput['balance']): Balance {
  if (input === undefined) return DEFAULT_TRAFFIC.balance;
  if (!isRecord(input)) return input === 'sticky' ? { kind: input, cookie: STICKY_COOKIE } : { kind: input };
  const { hash, sticky } = input;
  if (hash === undefined) return { kind: 'sticky', cookie: sticky?.cookie ?? STICKY_COOKIE };
  const by =
    hash.header === undefined ? ({ kind: 'cookie', name: hash.cookie ?? '' } as const) : ({ kind: 'header', name: hash.header } as const);
  return { kind: 'hash', by };
}

function completeEject(input: TrafficInput['eject']): EjectPolicy | null {
  if (input === false) return null;
  const defaults = DEFAULT_TRAFFIC.eject;
  if (input === undefined || defaults === null) return defaults;
  return {
    failures: input.failures ?? defaults.failures,
    errorsPercent: input.errors ?? defaults.errorsPercent,
    stallMs: input.stall ?? defaults.stallMs,
    firstMs: input.for ?? defaults.firstMs,
    sharePercent: input.share ?? defaults.sharePercent,
  };
}

export function completeRetries(input: TrafficInput['retries']): RetryPolicy {
  const defaults = DEFAULT_TRAFFIC.retries;
  if (input === undefined) return defaults;
  if (input === false) return { ...defaults, attempts: 1 };
  return {
    attempts: input.attempts ?? defaults.attempts,
    budgetPercent: input.budget ?? defaults.budgetPercent,
    perTryMs: input.perTry ?? defaults.perTryMs,
    unsafe: input.unsafe ?? defaults.unsafe,
  };
}
