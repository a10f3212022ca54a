using System.Net;
using System.Net.Http.Headers;
using Storage.Rpc.Wire;

namespace Storage.Rpc.Client;

// Which of several servers is asked: one that hangs takes connections and requests all the same, its kernel does.
public sealed partial class RpcChannel
{
    private static readonly TimeSpan s_probePause = TimeSpan.FromMilliseconds(50);
    private static readonly byte[] s_emptyMessage = new byte[5]; // not compressed, no bytes
    private long _heardAt;

    private enum Verdict
    {
        Ready,
        NotReady,
        Silent,
    }

    private void Prefer(int index)
    {
        Volatile.Write(ref _preferred, index);
        Volatile.Write(ref _heardAt, Options.Time.GetTimestamp());
    }

    /// <summary>The address that a call shall try first.</summary>
    private async Task<int> ChooseAsync(CancellationToken cancellation)
    {
        long heardAt = Volatile.Read(ref _heardAt);
        if (Options.Probe is null || _addresses.Length == 1 || (heardAt != 0 && Options.Time.GetElapsedTime(heardAt) < Options.ProbeAfter))
        {
            return Volatile.Read(ref _preferred);
        }

        using var patience = new CancellationTokenSource(Options.ProbePatience, Options.Time);
        using var search = CancellationTokenSource.CreateLinkedTokenSource(cancellation, patience.Token);
        List<Task<(int Index, Verdict Verdict)>> probes = [.. Enumerable.Range(0, _addresses.Length).Select(index => ProbeAsync(index, search.Token))];
        int? answered = null;
        while (probes.Count > 0)
        {
            Task<(int Index, Verdict Verdict)> first = await Task.WhenAny(probes).ConfigureAwait(false);
            probes.Remove(first);
            (int index, Verdict verdict) = await first.ConfigureAwait(false);
            if (verdict == Verdict.Ready)
            {
                await search.CancelAsync().ConfigureAwait(false);
                Prefer(index);
                return index;
            }

            answered = verdict == Verdict.NotReady ? index : answered;
        }

        cancellation.ThrowIfCancellationRequested();
        return answered ?? Volatile.Read(ref _preferred);
    }

    /// <summary>Asks one server until it is ready, or cannot be reached. Never fails.</summary>
    private async Task<(int Index, Verdict Verdict)> ProbeAsync(int index, CancellationToken cancellation)
    {
        Verdict verdict = Verdict.Silent;
        try
        {
            while (true)
            {
                using var request = new HttpRequestMessage(HttpMethod.Post, new Uri(_addresses[index], Options.Probe))
                {
                    Version = HttpVersion.Version20,
                    VersionPolicy = HttpVersionPolicy.RequestVersionExact,
                    Content = new ByteArrayContent(s_emptyMessage),
                };
                request.Content.Headers.ContentType = new MediaTypeHeaderValue(GrpcProtocol.ContentType);
                request.Headers.TryAddWithoutValidation("te", "trailers");
                using HttpResponseMessage response = await _http.SendAsync(request, cancellation).ConfigureAwait(false);

                // Any other failure is none of being out of touch; the call itself will tell.
                if (!ClientResponse.IsUnavailable(response))
                {
                    return (index, Verdict.Ready);
                }

                verdict = Verdict.NotReady;
                await Task.Delay(s_probePause, Options.Time, cancellation).ConfigureAwait(false);
            }
        }
        catch (Exception e) when (e is HttpRequestException or OperationCanceledException or IOException)
        {
            return (index, verdict);
        }
    }
}
