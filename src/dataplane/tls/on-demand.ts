// Certificates for hosts that nobody has written down, such as the domains of an App's customers: the handshake of the first visitor waits
// while the App is asked whether the host is one of its own, and control orders a certificate where it is. What keeps strangers from having
// anything ordered is the App's word; what keeps them from holding anything up are the bounds below.

import { isIP } from 'node:net';
import type { RouteRule } from '../../api/dataplane.ts';
import type { Clock } from '../../lib/clock.ts';
import { canonicalHost, coveringHosts } from '../../model/host.ts';
import { createHostRules } from './host-rules.ts';

/** Whom to ask for a host. */
export interface OnDemandRule {
  readonly group: string;
  /** A path of the App's. */
  readonly path: string;
}

export interface OnDemand {
  changeRules(put: Iterable<RouteRule>, remove: readonly string[]): void;
  /** There are certificates for these names now. */
  certified(names: Iterable<string>): void;
  /** Null: nothing to wait for. Else it resolves when the handshake shall go on, with whatever certificate there is then. */
  wait(serverName: string): Promise<void> | null;
  /** Hosts that an App has let in and that have no certificate yet, for control to order. */
  wanted(): readonly string[];
  /** Some Route wants it. */
  readonly inUse: boolean;
  stop(): void;
}

export interface OnDemandDeps {
  readonly clock: Clock;
  /** There is a certificate of this very name, wildcards spelled out. */
  readonly hasCertificate: (name: string) => boolean;
  /** Whether the App says yes; null: it does not say anything. Never throws. */
  readonly ask: (rule: OnDemandRule, host: string) => Promise<boolean | null>;
  /** Control is there and can be told. */
  readonly canTell: () => boolean;
  /** `wanted` has more. */
  readonly tell: () => void;
}

/** An order takes a few seconds; clients give a handshake ten or more. */
const WAIT_MS = 8_000;
/** What the App has said counts for so long. */
const ANSWER_MS = 30_000;
/** Before it is asked again where it said nothing. */
const SILENCE_MS = 2_000;
const KEPT_ANSWERS = 10_000;
const ASKED_AT_ONCE = 50;
const WAITING = 500;
const WANTED = 1_000;

interface Asked {
  /** Null: it is being asked. */
  answer: 'yes' | 'no' | 'silent' | null;
  untilMs: number;
  readonly waiting: Set<() => void>;
}

export function createOnDemand(deps: OnDemandDeps): OnDemand {
  const { clock } = deps;
  const rules = createHostRules<OnDemandRule>(({ group, policy }) =>
    policy?.onDemandCertificates === undefined ? undefined : { group, path: policy.onDemandCertificates.ask },
  );
  /** By canonical host, in the order in which they were asked. */
  const asked = new Map<string, Asked>();
  let asking = 0;
  let waiting = 0;

  const ruleFor = (host: string): OnDemandRule | null => {
    if (rules.size === 0 || deps.hasCertificate(host)) return null;
    for (const covering of coveringHosts(host)) {
      const rule = rules.get(covering);
      if (rule !== undefined) return rule;
      // A Route that is more specific, and has a certificate of its own.
      if (deps.hasCertificate(covering)) return null;
    }
    return null;
  };

  const release = (state: Asked): void => {
    for (const go of state.waiting) go();
  };

  const begin = (rule: OnDemandRule, host: string): Asked => {
    const state: Asked = { answer: null, untilMs: Infinity, waiting: new Set() };
    asked.delete(host);
    asked.set(host, state);
    if (asked.size > KEPT_ANSWERS) forgetOldest();
    asking += 1;
    void deps.ask(rule, host).then((answer) => {
      asking -= 1;
      state.answer = answer === null ? 'silent' : answer ? 'yes' : 'no';
      state.untilMs = clock.monotonic() + (answer === null ? SILENCE_MS : ANSWER_MS);
      if (answer === true) deps.tell();
      else release(state);
    });
    return state;
  };
  const forgetOldest = (): void => {
    for (const [host, state] of asked) {
      if (state.answer === null) continue;
      asked.delete(host);
      release(state);
      return;
    }
  };

  const waitFor = (state: Asked): Promise<void> => {
    waiting += 1;
    return new Promise((resolve) => {
      const go = (): void => {
        cancel();
        waiting -= 1;
        state.waiting.delete(go);
        resolve();
      };
      const cancel = clock.timer(WAIT_MS, go);
      state.waiting.add(go);
    });
  };

  return {
    changeRules: (put, remove) => void rules.change(put, remove),
    certified: (names) => {
      for (const name of asked.size === 0 ? [] : names) {
        const state = asked.get(name);
        if (state === undefined) continue;
        asked.delete(name);
        release(state);
      }
    },
    wait: (serverName) => {
      const host = rules.size === 0 ? null : canonicalHost(serverName);
      const rule = host === null || isIP(host) !== 0 ? null : ruleFor(host);
      if (host === null || rule === null || waiting >= WAITING || !deps.canTell()) return null;
      const known = asked.get(host);
      if (known !== undefined && known.untilMs > clock.monotonic()) {
        return known.answer === 'no' || known.answer === 'silent' ? null : waitFor(known);
      }
      return asking >= ASKED_AT_ONCE ? null : waitFor(begin(rule, host));
    },
    wanted: () => {
      const nowMs = clock.monotonic();
      const hosts: string[] = [];
      for (const [host, { answer, untilMs }] of asked) {
        if (answer === 'yes' && untilMs > nowMs && hosts.push(host) >= WANTED) break;
      }
      return hosts;
    },
    get inUse() {
      return rules.size > 0;
    },
    stop: () => {
      for (const state of asked.values()) release(state);
    },
  };
}
