using Storage.Cluster;
using Storage.Coding;
using Storage.Messaging;

namespace Storage.Client;

// Before something is said not to exist: a monitor that lags behind sends an old map, and nobody who does would know.
public sealed partial class ObjectClient
{
    private readonly SortedDictionary<ulong, TaskCompletionSource<Epoch>> _questions = [];
    private ulong _lastQuestion;
    private ulong _answeredQuestion;
    private Epoch _newestEpoch;

    /// <inheritdoc/>
    public async ValueTask<ClusterMap> ConfirmMapAsync(CancellationToken cancellation = default)
    {
        Invariant.Holds(Loop.IsCurrent);
        ObjectDisposedException.ThrowIf(_disposed, this);
        var answer = new TaskCompletionSource<Epoch>();
        ulong question = _lastQuestion + 1;
        _questions.Add(question, answer);
        AskNewest();
        try
        {
            return await WaitForMapAsync(await Await(answer, cancellation), cancellation);
        }
        finally
        {
            _questions.Remove(question);
        }
    }

    /// <summary>Asks for the newest epoch. Later questions replace earlier ones: their answers serve both.</summary>
    private ulong AskNewest()
    {
        _lastQuestion++;
        ArmWatchdog();
        _monitor.AskNewest(_lastQuestion);
        return _lastQuestion;
    }

    /// <summary>The question to be asked of a monitor that was just connected; 0 if none is open.</summary>
    internal ulong OpenQuestion => _lastQuestion > _answeredQuestion ? _lastQuestion : 0;

    internal void OnNewestEpoch(ulong question, Epoch newest)
    {
        if (_disposed || question <= _answeredQuestion || question > _lastQuestion)
        {
            return;
        }

        _answeredQuestion = question;
        _newestEpoch = newest > _newestEpoch ? newest : _newestEpoch;
        foreach ((ulong asked, TaskCompletionSource<Epoch> answer) in _questions.Where(entry => entry.Key <= question).ToArray())
        {
            _questions.Remove(asked);
            answer.TrySetResult(newest);
        }

        if (_map is null)
        {
            return;
        }

        // Those that waited for it are refused now, or when the map comes.
        for (PendingOperation? operation = _issued.First; operation is { Admitted: true }; operation = operation.Next)
        {
            if (operation is { Lane: null, Question: > 0 })
            {
                Place(operation);
            }
        }

        SendWaiting();
        CompleteRefused();
    }

    private static async Task<Epoch> Await(TaskCompletionSource<Epoch> answer, CancellationToken cancellation)
    {
        using CancellationTokenRegistration registration = cancellation.UnsafeRegister(
            static (state, token) => ((TaskCompletionSource<Epoch>)state!).TrySetCanceled(token), answer);
        return await answer.Task;
    }
}
