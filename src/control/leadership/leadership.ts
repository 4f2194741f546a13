// Which of the control planes on a store leads: its reconcilers work, and machines are connected to it. All of that is one leadership,
// because reconcilers decide by what the machines have said to them (docs/decisions/0017).

import type { Clock } from '../../lib/clock.ts';
import { messageOf } from '../../lib/failure.ts';
import { standForElection } from '../../store/election.ts';
import type { Election } from '../../store/election.ts';
import type { Fence } from '../../store/scoped-view.ts';
import { encodeRecord } from '../../store/records.ts';
import type { Store } from '../../store/store.ts';
import type { View } from '../../store/view.ts';
import type { Log } from '../../sys/log.ts';
import type { Peer } from './peer.ts';
import { controlPlaneRecords, LEADER_ID, LEADER_KEY, leaderRecords } from './records.ts';
import type { ControlPlane, Leader } from './records.ts';

/** From the moment at which a control plane leads until it leads no more. */
export interface Term {
  /** null where nobody else can reach the store. */
  readonly fence: Fence | null;
}

export interface LeaderElsewhere {
  readonly peer: Peer;
  /** Aborts when it leads no longer, or does so anew. */
  readonly moved: AbortSignal;
}

export interface Leadership {
  /** null: this one does not lead. */
  term(): Term | null;
  /** Whether its term surely lasts at this moment. */
  isSure(): boolean;
  /** The other one that leads; null where none is known to. */
  elsewhere(): LeaderElsewhere | null;
  planes(): readonly (ControlPlane & { readonly leads: boolean })[];
  /** Begins to stand for it, under this name. Resolves when somebody leads, or after the first tries. */
  start(self: ControlPlane): Promise<void>;
  stop(): Promise<void>;
}

/** Of a platform whose store nobody else can reach: it leads. */
export function aloneInLead(): Leadership {
  const term: Term = { fence: null };
  let self: ControlPlane | null = null;
  return {
    term: () => term,
    isSure: () => true,
    elsewhere: () => null,
    planes: () => (self === null ? [] : [{ ...self, leads: true }]),
    start: async (plane) => {
      self = plane;
    },
    stop: async () => undefined,
  };
}

export interface LeadershipOptions {
  readonly store: Store;
  readonly view: View;
  readonly clock: Clock;
  readonly log: Log;
  /** Called after each change of `term()` or `elsewhere()`. */
  readonly onChange: () => void;
  /** Told when this one has taken over from another, by name. */
  readonly onTakenOver: (from: string) => void;
}

/** So long the start waits for somebody to lead; a predecessor that was killed is followed earlier. */
const START_MS = 8_000;
const LOOK_MS = 50;

export function createLeadership({ store, view, clock, log, onChange, onTakenOver }: LeadershipOptions): Leadership {
  let self: ControlPlane | null = null;
  let election: Election | null = null;
  let term: Term | null = null;
  let elsewhere: (LeaderElsewhere & { readonly revision: number; readonly end: AbortController }) | null = null;
  let troubled = false;
  /** Name of the last one that led, where that was another. */
  let former: string | null = null;
  let unsubscribe = (): void => undefined;

  const look = (): void => {
    const stored = view.get(leaderRecords, LEADER_ID);
    if (elsewhere?.revision === stored?.revision) return;
    elsewhere?.end.abort(new Error('leadership has moved'));
    elsewhere = null;
    const url = stored?.document.url ?? null;
    if (stored !== undefined && url !== null && stored.document.controlId !== self?.id) {
      const end = new AbortController();
      elsewhere = { peer: { id: stored.document.controlId, url }, revision: stored.revision, moved: end.signal, end };
      former = view.get(controlPlaneRecords, stored.document.controlId)?.document.name ?? former ?? 'another one';
    }
    if (stored === undefined) election?.wake();
    const fence = term?.fence ?? null;
    if (fence !== null && view.revision >= fence.revision && stored?.revision !== fence.revision) election?.lost('another one leads');
    onChange();
  };

  const onTaken = (revision: number): void => {
    log.info({ revision }, 'this control plane leads');
    troubled = false;
    term = { fence: { key: LEADER_KEY, revision, onLost: () => election?.lost('a commit met another leader') } };
    if (former !== null) onTakenOver(former);
    former = null;
    onChange();
  };
  const onLost = (reason: string): void => {
    log.warn({ reason }, 'this control plane leads no longer');
    term = null;
    onChange();
  };

  return {
    term: () => term,
    isSure: () => election?.leads() ?? false,
    elsewhere: () => elsewhere,
    planes: () => {
      const leader = view.get(leaderRecords, LEADER_ID)?.document.controlId;
      return view.list(controlPlaneRecords).map(({ document }) => ({
        ...document,
        // What the store said last may be old where it cannot be reached.
        leads: document.id === self?.id ? term !== null : document.id === leader,
      }));
    },
    start: async (plane) => {
      self = plane;
      const leader: Leader = { id: LEADER_ID, controlId: plane.id, url: plane.url };
      const own = new RegExp(`"controlId":"${plane.id}"`, 'u');
      unsubscribe = view.onChange((changed) => {
        if (changed.has(leaderRecords.name)) look();
      });
      look();
      election = standForElection({
        store,
        clock,
        key: LEADER_KEY,
        value: encodeRecord(leaderRecords, leader),
        // Its data folder is locked: a predecessor of the same Node has ended.
        isOwn: (value) => own.test(value),
        presence: [{ key: `${controlPlaneRecords.name}/${plane.id}`, value: encodeRecord(controlPlaneRecords, plane) }],
        onTaken,
        onLost,
        onTrouble: (error) => {
          if (!troubled) log.warn({ error: messageOf(error) }, 'the store does not answer in time; trying on');
          troubled = true;
        },
      });
      const endMs = clock.monotonic() + START_MS;
      while (term === null && elsewhere === null && clock.monotonic() < endMs) await clock.sleep(LOOK_MS);
    },
    stop: async () => {
      unsubscribe();
      await election?.stop();
      elsewhere?.end.abort(new Error('this control plane stops'));
      elsewhere = null;
    },
  };
}
