// The two short lines with which a connection to a data port begins: which Instance is wanted, and whether it is there. After `ok` both
// directions are the Instance's own bytes. Until `ok` nothing has reached it, so whoever asked may ask elsewhere.

/** What an Edge says first. */
export interface Preface {
  readonly instanceId: string;
  /** The Instance is to be of this generation or a later one. */
  readonly generation: number;
  /**
   * What the end of the Edge's direction means to the Instance. half: its peer says no more, but listens on. reset: its peer is gone,
   * perhaps in the middle of a message, which it must not take for a whole one. TLS itself does not tell the two apart.
   */
  readonly end: 'half' | 'reset';
}

export const REFUSALS = {
  refused: 'this machine may not reach Instances there',
  busy: 'there are too many connections',
  invalid: 'it does not understand the question; the versions of the two machines differ by too much',
  unknown_instance: 'it has no such Instance',
  stale_generation: 'it has the Instance in an older generation only',
  not_running: 'the Instance does not run',
  unreachable: 'the Instance takes no connection',
} as const;

export type Refusal = keyof typeof REFUSALS;
export type Reply = 'ok' | Refusal;

/** Offered by ALPN, so that what is no data port is found out in the handshake. */
export const PROTOCOL = 'libra-data/1';
/** Of each line, with its end. */
const LINE_BYTES = 128;

const PREFACE = /^connect (?<instance>[\w.-]{1,64}) (?<generation>\d{1,15}) (?<end>half|reset)$/u;

export function prefaceLine({ instanceId, generation, end }: Preface): string {
  return `connect ${instanceId} ${generation} ${end}\n`;
}

/** @param line without its end. @returns null where it is no preface. */
export function parsePreface(line: string): Preface | null {
  const { instance, generation, end } = PREFACE.exec(line)?.groups ?? {};
  if (instance === undefined || generation === undefined) return null;
  return { instanceId: instance, generation: Number(generation), end: end === 'half' ? 'half' : 'reset' };
}

export const replyLine = (reply: Reply): string => `${reply}\n`;

/** @param line without its end. @returns null where it is no reply. */
export function parseReply(line: string): Reply | null {
  if (line === 'ok') return line;
  return isRefusal(line) ? line : null;
}

const isRefusal = (line: string): line is Refusal => Object.hasOwn(REFUSALS, line);

/** Takes pieces until the line is whole. */
export interface LineReader {
  /** The line without its end and what stands behind it; 'long' where it can be none; null: it goes on. The piece is not kept. */
  push(piece: Buffer): { readonly line: string; readonly rest: Buffer } | 'long' | null;
  /** Nothing has come so far. */
  readonly empty: boolean;
}

export function createLineReader(): LineReader {
  let text = '';
  return {
    push: (piece) => {
      const end = piece.indexOf(0x0a);
      text += piece.toString('latin1', 0, end === -1 ? Math.min(piece.length, LINE_BYTES) : end);
      if (text.length >= LINE_BYTES) return 'long';
      return end === -1 ? null : { line: text, rest: piece.subarray(end + 1) };
    },
    get empty() {
      return text === '';
    },
  };
}
