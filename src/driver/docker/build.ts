// Builds images by the engine's own builder, whose progress becomes output of the build Instance, as if it were a program.

import type { Readable } from 'node:stream';
import type { Clock } from '../../lib/clock.ts';
import { Failure, isFailure } from '../../lib/failure.ts';
import { openLogWriter } from '../../sys/log-segments.ts';
import type { ImageOrder } from '../contract.ts';
import type { Engine } from './engine.ts';
import { engineStatus } from './engine-http.ts';
import { textOf } from './fields.ts';
import { readMessages } from './messages.ts';

const CPU_PERIOD_US = 100_000;

export interface BuildInput {
  readonly order: ImageOrder;
  /** A tar of the folder. */
  readonly context: Readable;
  readonly network: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Value of `X-Registry-Config`; null: none. */
  readonly logins: string | null;
}

/** Resolves when the image is there under its name. `build_failed`: an instruction failed, or the Dockerfile cannot be read. */
export async function buildImage(engine: Engine, clock: Clock, input: BuildInput, signal: AbortSignal): Promise<void> {
  const { order, context, network, labels, logins } = input;
  const { cpu, memory } = order.resources;
  const query = {
    dockerfile: order.dockerfile,
    t: order.reference,
    rm: 'true',
    forcerm: 'true',
    memory: String(memory.limitBytes),
    memswap: String(memory.limitBytes),
    cpuperiod: String(CPU_PERIOD_US),
    cpuquota: String(Math.round(cpu.limit * CPU_PERIOD_US)),
    networkmode: network,
    labels: JSON.stringify(labels),
  };
  const log = openLogWriter(order.logFolder, order.logBytes, () => clock.now());
  try {
    for await (const message of readMessages(await engine.build(context, query, logins, signal))) {
      const text = textOf(message, 'stream') ?? withId(textOf(message, 'status'), textOf(message, 'id'));
      if (text !== null) log.write('stdout', Buffer.from(text));
      const error = textOf(message, 'error');
      if (error === null) continue;
      log.write('stderr', Buffer.from(`${error}\n`));
      throw new Failure('build_failed', { message: `The Dockerfile ${order.dockerfile} cannot be built: ${error}` });
    }
  } catch (error) {
    signal.throwIfAborted();
    const status = engineStatus(error);
    if (!isFailure(error) || status === null || status === 503) throw error;
    throw new Failure('build_failed', { message: `The Dockerfile ${order.dockerfile} cannot be built: ${error.message}`, cause: error });
  } finally {
    log.end();
    log.close();
  }
  if ((await engine.image(order.reference)) === null)
    throw new Failure('internal', { message: `Docker built ${order.reference}, and it is not there.` });
}

/** Of an image that is fetched: a line for each step of a layer. */
const withId = (status: string | null, id: string | null): string | null =>
  status === null ? null : `${id === null ? '' : `${id}: `}${status}\n`;
