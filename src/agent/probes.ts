// One look at whether an Instance answers: http, tcp or a command, each with a deadline and told as what was seen.

import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { request } from 'node:http';
import type { ProbeFailure } from '../model/diagnosis.ts';
import type { HealthProbe } from '../model/manifest-types.ts';

/** null: it is well. */
export type ProbeResult = ProbeFailure | null;

export interface ProbeTarget {
  readonly host: string;
  /** null where it does not listen; http and tcp probes then fail. */
  readonly port: number | null;
  /** Runs a command inside the Instance; rejects where that is not possible. */
  readonly exec: (argv: readonly string[], signal: AbortSignal) => Promise<{ readonly code: number | null; readonly output: string }>;
}

/** Runs the probe once. Never rejects; an abort of `signal` counts as the deadline. */
export async function probeOnce(probe: HealthProbe, target: ProbeTarget, timeoutMs: number, signal: AbortSignal): Promise<ProbeResult> {
  switch (probe.kind) {
    case 'running':
      return null;
    case 'command':
      return probeCommand(probe.command, target, timeoutMs, signal);
    case 'tcp':
      return target.port === null ? { kind: 'tcp', problem: 'refused' } : probeTcp(target.host, target.port, timeoutMs, signal);
    case 'http':
      return target.port === null
        ? { kind: 'http', path: probe.path, status: null, problem: 'refused' }
        : probeHttp(target.host, target.port, probe.path, timeoutMs, signal);
  }
}

/** Calls `onDeadline` once after `timeoutMs` or at the abort; the returned function takes that back. */
function deadlineOf(timeoutMs: number, signal: AbortSignal, onDeadline: () => void): () => void {
  const handle = setTimeout(onDeadline, timeoutMs);
  signal.addEventListener('abort', onDeadline, { once: true });
  if (signal.aborted) queueMicrotask(onDeadline);
  return () => {
    clearTimeout(handle);
    signal.removeEventListener('abort', onDeadline);
  };
}

/** A connection that could not be made: nobody there, or no answer at all. */
const connectProblem = (error: NodeJS.ErrnoException): 'refused' | 'timeout' => (error.code === 'ECONNREFUSED' ? 'refused' : 'timeout');

function probeTcp(host: string, port: number, timeoutMs: number, signal: AbortSignal): Promise<ProbeResult> {
  return new Promise((resolve) => {
    const socket: Socket = connect({ host, port });
    const end = (result: ProbeResult): void => {
      clear();
      socket.destroy();
      resolve(result);
    };
    const clear = deadlineOf(timeoutMs, signal, () => end({ kind: 'tcp', problem: 'timeout' }));
    socket.once('connect', () => end(null));
    socket.on('error', (error) => end({ kind: 'tcp', problem: connectProblem(error) }));
  });
}

/** 200 to 399 is well; redirects are not followed. Only the head of the answer is read. */
function probeHttp(host: string, port: number, path: string, timeoutMs: number, signal: AbortSignal): Promise<ProbeResult> {
  return new Promise((resolve) => {
    const outgoing = request({
      host,
      port,
      path,
      agent: false,
      headers: { host: 'localhost', 'user-agent': 'libra-health', connection: 'close', accept: '*/*' },
    });
    const end = (status: number | null, problem: 'status' | 'refused' | 'timeout' | 'broken' | null): void => {
      clear();
      outgoing.destroy();
      resolve(problem === null ? null : { kind: 'http', path, status, problem });
    };
    const clear = deadlineOf(timeoutMs, signal, () => end(null, 'timeout'));
    outgoing.once('response', (response) => {
      const status = response.statusCode ?? 0;
      end(status, status >= 200 && status <= 399 ? null : 'status');
    });
    outgoing.on('error', (error: NodeJS.ErrnoException) => end(null, error.syscall === 'connect' ? connectProblem(error) : 'broken'));
    outgoing.end();
  });
}

async function probeCommand(argv: readonly string[], target: ProbeTarget, timeoutMs: number, signal: AbortSignal): Promise<ProbeResult> {
  const deadline = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]);
  try {
    const { code, output } = await target.exec(argv, deadline);
    if (!deadline.aborted && code === 0) return null;
    return { kind: 'command', exitCode: deadline.aborted ? null : code, output };
  } catch (error) {
    return { kind: 'command', exitCode: null, output: error instanceof Error ? error.message : String(error) };
  }
}
