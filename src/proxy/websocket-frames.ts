// Follows the frames of one direction of a WebSocket (RFC 6455 §5.2) just closely enough to know where one ends, because only there may
// the proxy say something of its own: that it is going away.

export interface FrameTracker {
  push(chunk: Buffer): void;
  /** True between two frames. */
  atBoundary(): boolean;
}

export function createFrameTracker(): FrameTracker {
  /** Bytes of the current frame's head so far: at most 2 + 8 + 4. */
  const head = Buffer.alloc(14);
  let headBytes = 0;
  /** Payload bytes still to come. */
  let left = 0;

  /** Length of the head, as far as the bytes that are there tell. */
  const headLength = (): number => {
    if (headBytes < 2) return 2;
    const second = head[1] ?? 0;
    const length = second & 0x7f;
    return 2 + (length === 126 ? 2 : length === 127 ? 8 : 0) + ((second & 0x80) === 0 ? 0 : 4);
  };
  const payloadLength = (): number => {
    const length = (head[1] ?? 0) & 0x7f;
    if (length === 126) return head.readUInt16BE(2);
    // Beyond 2^53 the number is only large, which is all that matters.
    return length === 127 ? Number(head.readBigUInt64BE(2)) : length;
  };

  return {
    push: (chunk) => {
      let at = 0;
      while (at < chunk.length) {
        if (left > 0) {
          const taken = Math.min(left, chunk.length - at);
          left -= taken;
          at += taken;
          continue;
        }
        head[headBytes] = chunk[at] ?? 0;
        headBytes += 1;
        at += 1;
        if (headBytes < headLength()) continue;
        left = payloadLength();
        headBytes = 0;
      }
    },
    atBoundary: () => headBytes === 0 && left === 0,
  };
}

/** 1001, "going away" (RFC 6455 §7.4.1). */
const GOING_AWAY = [0x03, 0xe9] as const;

/** A close frame; towards a server it is masked, as RFC 6455 §5.3 asks, with a mask of zeros. */
export function goingAwayFrame(to: 'client' | 'target'): Buffer {
  return to === 'client' ? Buffer.from([0x88, 0x02, ...GOING_AWAY]) : Buffer.from([0x88, 0x82, 0, 0, 0, 0, ...GOING_AWAY]);
}
