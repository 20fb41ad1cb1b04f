"use strict";

/* Chunks are scripts that call Explorer.receive: the only files that a page opened from disk may read. */
Explorer.loading = (() => {
  const FOLDER = "report/data/";
  const waiting = new Map();

  Explorer.receive = (name, value) => waiting.get(name)?.(value);

  /** What the chunk of a name hands over. */
  function chunk(name) {
    const file = `${FOLDER}${name}.js`;
    return new Promise((resolve, reject) => {
      const script = document.createElement("script");
      let received;
      waiting.set(name, (value) => { received = value; });
      const end = (settle) => {
        waiting.delete(name);
        script.remove();
        settle();
      };
      script.onload = () => end(() => {
        if (received === undefined) reject(new Error(`${file} is damaged`));
        else resolve(received);
      });
      script.onerror = () => end(() => reject(new Error(
        `${file} cannot be read: the folder “report” must lie beside this page, whole`)));
      script.src = file;
      document.head.append(script);
    });
  }

  function bytesOf(text) {
    if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
    const characters = atob(text);
    const bytes = new Uint8Array(characters.length);
    for (let at = 0; at < bytes.length; at++) bytes[at] = characters.charCodeAt(at);
    return bytes;
  }

  /** The bytes of a compressed chunk. */
  async function packed(name) {
    const text = await chunk(name);
    const stream = new Blob([bytesOf(text)]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).arrayBuffer();
  }

  /** The value of a compressed chunk that holds JSON. */
  async function packedJson(name) {
    return JSON.parse(new TextDecoder().decode(await packed(name)));
  }

  return { chunk, packed, packedJson };
})();
