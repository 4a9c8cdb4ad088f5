document.querySelector("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const below = new FormData(event.target).get("below");
  const answer = await fetch(`/api/primes?below=${encodeURIComponent(below)}`);
  document.querySelector("output").textContent = answer.ok ? (await answer.json()).count : await answer.text();
});
