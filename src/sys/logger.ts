// The logger of every process: JSON lines through pino into a bounded file. The cause chain of an error is logged here and nowhere else.

import { pino } from 'pino';
import type { Logger } from 'pino';
import { Failure, messageOf } from '../lib/failure.ts';
import type { Log } from './log.ts';
import { openRotatingFile } from './rotating-file.ts';

interface ErrorFields {
  readonly type: string;
  readonly message: string;
  readonly code?: string | undefined;
  readonly stack?: string | undefined;
  readonly cause?: ErrorFields | undefined;
}

function errorFields(error: unknown, depth = 0): ErrorFields | undefined {
  if (error === undefined || depth > 4) return undefined;
  if (!(error instanceof Error)) return { type: typeof error, message: messageOf(error) };
  return {
    type: error.name,
    message: error.message,
    code: error instanceof Failure ? error.code : undefined,
    stack: error instanceof Failure ? undefined : error.stack,
    cause: errorFields(error.cause, depth + 1),
  };
}

function wrap(logger: Logger): Log {
  return {
    debug: (fields, message) => logger.debug(fields, message),
    info: (fields, message) => logger.info(fields, message),
    warn: (fields, message) => logger.warn(fields, message),
    error: (fields, message) => logger.error(fields, message),
    child: (fields) => wrap(logger.child(fields)),
  };
}

export interface FileLog {
  readonly log: Log;
  close(): Promise<void>;
}

/** A logger into `path`, at most twice `bytes` on disk. Fields named `error` are written with their cause chain. */
export function openFileLog(options: {
  readonly path: string;
  readonly level: 'debug' | 'info' | 'warn' | 'error';
  readonly name: string;
  readonly bytes?: number;
}): FileLog {
  const file = openRotatingFile(options.path, options.bytes ?? 8 * 1024 * 1024);
  const logger = pino(
    {
      level: options.level,
      base: { name: options.name, pid: process.pid },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { error: (error: unknown) => errorFields(error) },
    },
    { write: (line: string) => file.write(line) },
  );
  return { log: wrap(logger), close: () => file.close() };
}
