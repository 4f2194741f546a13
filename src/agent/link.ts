// How an agent reaches control, as functions, so that everything above can be tested without a network. Control never calls an agent.

import type { Readable } from 'node:stream';
import type { AgentMessage, AgentReport } from '../api/agent.ts';
import type { FrameSocket } from '../sys/frame-socket.ts';

/** The socket of one call: whole frames, first byte the kind (CALL_FRAME). */
export type CallSocket = FrameSocket;

export interface AgentLink {
  /** One connection: ends or throws when it breaks. The first message is a snapshot. */
  sync(signal: AbortSignal): AsyncIterable<AgentMessage>;
  report(report: AgentReport, signal: AbortSignal): Promise<void>;
  /** Those of the Environments that are gone for good. */
  goneEnvironments(ids: readonly string[], signal: AbortSignal): Promise<readonly string[]>;
  openCall(callId: string, signal: AbortSignal): Promise<CallSocket>;
  /** Bytes of a blob from `startByte` on. */
  fetchBlob(digest: string, startByte: number, signal: AbortSignal): Promise<Readable>;
  /** Uploads the blob unless it is there already; goes on where an earlier try broke off. `open` gives the bytes from an offset on. */
  uploadBlob(digest: string, open: (startByte: number) => Readable, signal: AbortSignal): Promise<void>;
}
