// How Instances get onto Nodes. Only who leads plans (its commits compare the fence), and it reckons with everything that it has under way,
// so plans for several Environments are committed at the same time and none has to write a Node. Two things are compared instead: each
// Node's record, which changes when it is cordoned, changed or removed, and one mark. Where the answer of a commit is lost, what it placed
// stays reserved, and the mark is written before anything else is placed: from then on that commit is either seen or can never be done.

import type { Clock } from '../../lib/clock.ts';
import { isFailure } from '../../lib/failure.ts';
import type { FailureCode } from '../../lib/failure.ts';
import type { InstanceSpec } from '../../model/documents.ts';
import type { Operation } from '../../store/collection.ts';
import { guard, guardAbsence, put } from '../../store/records.ts';
import type { View } from '../../store/view.ts';
import { nodeSpecRecords } from '../cluster/records.ts';
import { placingMarkRecords } from './records.ts';
import { reserve } from './rooms.ts';

/** What one commit places. */
export interface Placing {
  readonly placed: readonly InstanceSpec[];
  /** Whatever belongs to the same commit: what writes them first of all. */
  readonly operations: readonly Operation[];
  /** What is good without the rest goes in commits of its own, at the same time. */
  readonly more?: readonly Omit<Placing, 'more'>[];
}

const MARK = 'placing';
const REFUSED: ReadonlySet<string> = new Set<FailureCode>(['conflict', 'exists', 'invalid_input', 'not_found', 'too_large']);
/** Reservations of commits of which nobody knows whether they were done. */
const unsureOf = new WeakMap<View, Set<() => void>>();

/**
 * Plans and commits, and gives back what was planned. `plan` is asked once, must not wait, and may throw: nobody else plans between its look
 * at the rooms and the reservation of what it takes. null: nothing is to be placed. Throws `conflict` where something has changed since.
 */
export async function place<P extends Placing | null>(
  { view, clock }: { readonly view: View; readonly clock: Clock },
  plan: () => P,
): Promise<P> {
  const unsure = unsureOf.get(view) ?? new Set<() => void>();
  unsureOf.set(view, unsure);
  if (unsure.size > 0) {
    const before = [...unsure];
    await view.commit(put(placingMarkRecords, { id: MARK, atMs: clock.now() }));
    for (const release of before) if (unsure.delete(release)) release();
  }
  const planned = plan();
  if (planned === null) return planned;
  const ends = await Promise.allSettled([planned, ...(planned.more ?? [])].map((part) => commitPart(view, part, unsure)));
  for (const end of ends) if (end.status === 'rejected') throw end.reason;
  return planned;
}

async function commitPart(view: View, { placed, operations }: Placing, unsure: Set<() => void>): Promise<void> {
  if (operations.length === 0) return;
  const guards = placed.length === 0 ? [] : guardsOf(view, placed);
  const release = reserve(view, placed);
  try {
    await view.commit(...guards, ...operations);
  } catch (error) {
    if (wasRefused(error)) release();
    else unsure.add(release);
    throw error;
  }
  release();
}

function guardsOf(view: View, placed: readonly InstanceSpec[]): readonly Operation[] {
  const mark = view.get(placingMarkRecords, MARK);
  const guards = [mark === undefined ? guardAbsence(placingMarkRecords, MARK) : guard(placingMarkRecords, mark)];
  for (const nodeId of new Set(placed.map((spec) => spec.nodeId))) {
    const node = view.get(nodeSpecRecords, nodeId);
    if (node !== undefined) guards.push(guard(nodeSpecRecords, node));
  }
  return guards;
}

/** Nothing was written, and nothing will be. */
function wasRefused(error: unknown): boolean {
  if (!isFailure(error)) return false;
  return REFUSED.has(error.code) || (error.code === 'unavailable' && error.details?.['moving'] === true);
}
