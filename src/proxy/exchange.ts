// One request on its way: what is sent on, how often it was tried, and how it ended. Edge and API Proxy make these; forward carries them
// out; access log and metrics read them afterwards.

import type { RetryPolicy } from '../model/traffic-policy.ts';
import type { Tried } from './balance.ts';
import type { Target } from './dial.ts';
import type { AnswerHead, ClientStream, UpstreamRequest } from './message.ts';
import type { RetryBudget } from './retry-budget.ts';
import type { TargetState } from './target-state.ts';

export interface Exchange {
  readonly client: ClientStream;
  readonly request: UpstreamRequest;
  /** Chooses the target of the next try among those that are not in `tried`; null where none is left, `busy` where all are full. */
  next(tried: Tried): TargetState | 'busy' | null;
  /** What may be tried again, and who pays; known after the first `next`. */
  retries(): Retries;
  /** Most bytes that its body may have; Infinity: no limit. */
  readonly bodyBytes: number;
  /** May change the fields of the answer before its head goes to the client. */
  editAnswer(head: AnswerHead): void;
  /** How it ended: called once for each start of its forwarding. */
  onResult(result: ExchangeResult): void;
  readonly facts: ExchangeFacts;
}

export interface Retries {
  readonly policy: RetryPolicy;
  readonly budget: RetryBudget;
  /** So long the target may take to answer, in place of the limit; absent: that. */
  readonly answerMs?: number;
}

/** Filled in while it runs. Durations are milliseconds of monotonic time since the start. */
export interface ExchangeFacts {
  readonly startedMs: number;
  attempts: number;
  target: Target | null;
  /** Time that it waited for an App that was starting or held. */
  waitMs: number;
  connectMs: number | null;
  firstByteMs: number | null;
  bytesIn: number;
  bytesOut: number;
}

export type ExchangeResult =
  /** The target's answer went to the client whole. */
  | { readonly type: 'answered'; readonly status: number }
  /** An upgraded stream has ended. */
  | { readonly type: 'upgraded' }
  /** No target is left to try and the client has got nothing yet: the caller answers. `waited`: there is none still, after a wait. */
  | { readonly type: 'no_target'; readonly reason: 'none' | 'waited' | 'busy' }
  /** The same, since no connection to those that were tried came about. */
  | { readonly type: 'no_target'; readonly reason: 'refused'; readonly message: string }
  /** The request may have reached the target, which then failed; the client has got nothing yet: the caller answers. */
  | {
      readonly type: 'failed';
      readonly reason: 'reset' | 'timeout' | 'client_timeout' | 'too_large' | 'invalid_answer';
      readonly message: string;
    }
  /** The answer broke off after its beginning; the client's connection was reset. */
  | { readonly type: 'cut'; readonly status: number; readonly message: string }
  | { readonly type: 'client_gone'; readonly status: number | null };
