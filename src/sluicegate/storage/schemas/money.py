"""The ledger: `calls` has one row per reservation with what was estimated and what it really cost; `totals` has the
running sums that caps are checked against, so a reservation costs the same however many went before.

On a server procedures do what `policies.ledger` does by single statements in a file: a booking is one round trip.
"""

from sluicegate.storage.migrations import Migration, Schema

__all__ = ["LEDGER"]

_RESERVE = """
    -- the limit that refuses, by its number from 1, and how far it is used; 0 when none does, -1 for the clock
    CREATE PROCEDURE sluicegate_reserve_1(
        p_id TEXT, p_workflow TEXT, p_run TEXT, p_principal TEXT, p_intent TEXT, p_model TEXT,
        p_micros BIGINT, p_tokens BIGINT, p_now DOUBLE PRECISION, p_lease DOUBLE PRECISION, p_slack DOUBLE PRECISION,
        p_undated TEXT[], p_places INTEGER[], p_in_tokens BOOLEAN[], p_limits BIGINT[],
        INOUT refused INTEGER, INOUT used BIGINT, INOUT latest DOUBLE PRECISION
    ) LANGUAGE plpgsql AS $$
    DECLARE
        ended calls%ROWTYPE;
        today TEXT;
        dated TEXT[];
        asked BIGINT;
    BEGIN
        latest := sluicegate_clock_1(p_now);
        used := 0;
        FOR ended IN SELECT * FROM calls WHERE state = 'held' AND expires_at < latest LOOP
            UPDATE calls SET state = 'expired', ended_at = latest WHERE id = ended.id;
            PERFORM sluicegate_add_1(ended.scopes, -ended.estimated_micros, 0, -ended.estimated_tokens, 0);
        END LOOP;
        today := to_char(to_timestamp(latest) AT TIME ZONE 'UTC', 'YYYY-MM-DD');
        dated := ARRAY[
            p_undated[1], p_undated[2] || today, p_undated[3] || today, p_undated[4] || today,
            p_undated[5] || left(today, 7)
        ];
        FOR number IN 1 .. coalesce(array_length(p_limits, 1), 0) LOOP
            refused := number;
            asked := CASE WHEN p_in_tokens[number] THEN p_tokens ELSE p_micros END;
            CONTINUE WHEN asked = 0;
            IF latest - p_now > p_slack THEN
                refused := -1;
                RETURN;
            END IF;
            SELECT CASE WHEN p_in_tokens[number] THEN spent_tokens + held_tokens ELSE spent_micros + held_micros END
            INTO used FROM totals WHERE scope = dated[p_places[number]];
            used := coalesce(used, 0);
            IF used + asked > p_limits[number] THEN
                RETURN;
            END IF;
        END LOOP;
        refused := 0;
        INSERT INTO calls (
            id, workflow, run, principal, intent, model, day, state, estimated_micros, estimated_tokens, reserved_at,
            expires_at, scopes
        ) VALUES (
            p_id, p_workflow, p_run, p_principal, p_intent, p_model, today, 'held', p_micros, p_tokens, latest,
            latest + p_lease, dated
        );
        PERFORM sluicegate_add_1(dated, p_micros, 0, p_tokens, 0);
        COMMIT;
        IF p_micros > 0 THEN
            PERFORM sluicegate_flush_1();
        END IF;
    END $$
    """

_DATED = """\
        dated := ARRAY[
            p_undated[1], p_undated[2] || today, p_undated[3] || today, p_undated[4] || today,
            p_undated[5] || left(today, 7)
        ];
"""
_DATED_WITHIN = """\
        FOR place IN 1 .. array_length(p_undated, 1) LOOP
            dated[place] := p_undated[place] || CASE (place - 1) % 5
                WHEN 0 THEN '' WHEN 4 THEN left(today, 7) ELSE today END;
        END LOOP;
"""
_RESERVE_WITHIN = _RESERVE.replace("sluicegate_reserve_1", "sluicegate_reserve_2").replace(_DATED, _DATED_WITHIN)

_RESERVE_DRAWING = """
    -- what a branch or an item draws on the reservation made for it is not asked for twice; `booked` is the id
    CREATE PROCEDURE sluicegate_reserve_3(
        p_id TEXT, p_workflow TEXT, p_run TEXT, p_principal TEXT, p_intent TEXT, p_model TEXT,
        p_micros BIGINT, p_tokens BIGINT, p_drawn_on TEXT,
        p_now DOUBLE PRECISION, p_lease DOUBLE PRECISION, p_slack DOUBLE PRECISION,
        p_undated TEXT[], p_places INTEGER[], p_in_tokens BOOLEAN[], p_limits BIGINT[],
        INOUT booked TEXT, INOUT refused INTEGER, INOUT used BIGINT, INOUT latest DOUBLE PRECISION
    ) LANGUAGE plpgsql AS $$
    DECLARE
        ended calls%ROWTYPE;
        source calls%ROWTYPE;
        drawn_micros BIGINT := 0;
        drawn_tokens BIGINT := 0;
        today TEXT;
        dated TEXT[];
        asked BIGINT;
    BEGIN
        latest := sluicegate_clock_1(p_now);
        used := 0;
        booked := p_id;
        FOR ended IN SELECT * FROM calls WHERE state = 'held' AND expires_at < latest LOOP
            UPDATE calls SET state = 'expired', ended_at = latest WHERE id = ended.id;
            PERFORM sluicegate_add_1(ended.scopes, -ended.estimated_micros, 0, -ended.estimated_tokens, 0);
        END LOOP;
        IF p_drawn_on <> '' THEN
            LOOP
                SELECT * INTO ended FROM calls WHERE id = booked;
                EXIT WHEN NOT FOUND;
                IF ended.state = 'held' THEN
                    PERFORM sluicegate_add_1(ended.scopes, -ended.estimated_micros, 0, -ended.estimated_tokens, 0);
                    DELETE FROM calls WHERE id = booked;
                    -- it goes back to what it was drawn on: the repeated call takes its place, and not that of others
                    SELECT * INTO source FROM calls WHERE id = p_drawn_on AND state = 'held';
                    IF FOUND AND source.scopes <@ ended.scopes THEN
                        UPDATE calls SET estimated_micros = estimated_micros + ended.estimated_micros,
                            estimated_tokens = estimated_tokens + ended.estimated_tokens
                        WHERE id = source.id;
                        PERFORM sluicegate_add_1(source.scopes, ended.estimated_micros, 0, ended.estimated_tokens, 0);
                    END IF;
                    EXIT;
                END IF;
                booked := booked || '+';
            END LOOP;
            SELECT * INTO source FROM calls WHERE id = p_drawn_on AND state = 'held';
            IF FOUND THEN
                drawn_micros := least(p_micros, source.estimated_micros);
                drawn_tokens := least(p_tokens, source.estimated_tokens);
            END IF;
        END IF;
        today := to_char(to_timestamp(latest) AT TIME ZONE 'UTC', 'YYYY-MM-DD');
        FOR place IN 1 .. array_length(p_undated, 1) LOOP
            dated[place] := p_undated[place] || CASE (place - 1) % 5
                WHEN 0 THEN '' WHEN 4 THEN left(today, 7) ELSE today END;
        END LOOP;
        FOR number IN 1 .. coalesce(array_length(p_limits, 1), 0) LOOP
            refused := number;
            asked := CASE WHEN p_in_tokens[number] THEN p_tokens ELSE p_micros END;
            CONTINUE WHEN asked = 0;
            IF latest - p_now > p_slack THEN
                refused := -1;
                RETURN;
            END IF;
            SELECT CASE WHEN p_in_tokens[number] THEN spent_tokens + held_tokens ELSE spent_micros + held_micros END
            INTO used FROM totals WHERE scope = dated[p_places[number]];
            used := coalesce(used, 0);
            IF dated[p_places[number]] = ANY(source.scopes) THEN
                used := used - CASE WHEN p_in_tokens[number] THEN drawn_tokens ELSE drawn_micros END;
            END IF;
            IF used + asked > p_limits[number] THEN
                RETURN;
            END IF;
        END LOOP;
        refused := 0;
        INSERT INTO calls (
            id, workflow, run, principal, intent, model, day, state, estimated_micros, estimated_tokens, reserved_at,
            expires_at, scopes, drawn_on
        ) VALUES (
            booked, p_workflow, p_run, p_principal, p_intent, p_model, today, 'held', p_micros, p_tokens, latest,
            latest + p_lease, dated, p_drawn_on
        );
        PERFORM sluicegate_add_1(dated, p_micros, 0, p_tokens, 0);
        IF source.id IS NOT NULL THEN
            UPDATE calls SET estimated_micros = estimated_micros - drawn_micros,
                estimated_tokens = estimated_tokens - drawn_tokens, expires_at = latest + p_lease
            WHERE id = source.id;
            PERFORM sluicegate_add_1(source.scopes, -drawn_micros, 0, -drawn_tokens, 0);
        END IF;
        COMMIT;
        IF p_micros > 0 THEN
            PERFORM sluicegate_flush_1();
        END IF;
    END $$
    """

# a changed procedure gets a new number: older programs may go on with theirs
_PROCEDURES = (
    "ALTER TABLE calls ADD COLUMN IF NOT EXISTS scopes TEXT[]",
    """
    CREATE FUNCTION sluicegate_add_1(
        p_scopes TEXT[], p_held BIGINT, p_spent BIGINT, p_held_tokens BIGINT, p_spent_tokens BIGINT
    ) RETURNS VOID LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO totals (scope, held_micros, spent_micros, held_tokens, spent_tokens)
        SELECT one, p_held, p_spent, p_held_tokens, p_spent_tokens FROM unnest(p_scopes) AS one
        ON CONFLICT (scope) DO UPDATE SET
            held_micros = totals.held_micros + excluded.held_micros,
            spent_micros = totals.spent_micros + excluded.spent_micros,
            held_tokens = totals.held_tokens + excluded.held_tokens,
            spent_tokens = totals.spent_tokens + excluded.spent_tokens;
    END $$
    """,
    """
    -- the time that counts: the clock's, or the latest the ledger has seen
    CREATE FUNCTION sluicegate_clock_1(p_now DOUBLE PRECISION) RETURNS DOUBLE PRECISION LANGUAGE plpgsql AS $$
    DECLARE seen DOUBLE PRECISION;
    BEGIN
        PERFORM set_config('synchronous_commit', 'off', TRUE);
        PERFORM pg_advisory_xact_lock(hashtext('sluicegate-ledger'));
        SELECT latest INTO seen FROM clock;
        IF seen IS NULL THEN
            INSERT INTO clock (id, latest) VALUES (1, p_now);
        ELSIF p_now >= seen + 1 THEN
            UPDATE clock SET latest = p_now;
        END IF;
        RETURN greatest(p_now, seen);
    END $$
    """,
    """
    -- all that was committed before this is on the disk when the transaction it is called in has ended
    CREATE FUNCTION sluicegate_flush_1() RETURNS VOID LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_logical_emit_message(TRUE, 'sluicegate', '');
    END $$
    """,
    _RESERVE,
    """
    CREATE PROCEDURE sluicegate_end_1(
        p_id TEXT, p_settles BOOLEAN, p_micros BIGINT, p_tokens BIGINT, p_now DOUBLE PRECISION
    ) LANGUAGE plpgsql AS $$
    DECLARE
        ended calls%ROWTYPE;
        latest DOUBLE PRECISION;
        held BOOLEAN;
    BEGIN
        latest := sluicegate_clock_1(p_now);
        SELECT * INTO ended FROM calls WHERE id = p_id;
        held := ended.state = 'held';
        IF p_settles AND ended.state <> 'settled' THEN
            UPDATE calls SET state = 'settled', real_micros = p_micros, real_tokens = p_tokens, ended_at = latest
            WHERE id = p_id;
            PERFORM sluicegate_add_1(
                ended.scopes, CASE WHEN held THEN -ended.estimated_micros ELSE 0 END, p_micros,
                CASE WHEN held THEN -ended.estimated_tokens ELSE 0 END, p_tokens
            );
        ELSIF held AND NOT p_settles THEN
            UPDATE calls SET state = 'released', ended_at = latest WHERE id = p_id;
            PERFORM sluicegate_add_1(ended.scopes, -ended.estimated_micros, 0, -ended.estimated_tokens, 0);
        END IF;
        COMMIT;
        IF p_micros > 0 THEN
            PERFORM sluicegate_flush_1();
        END IF;
    END $$
    """,
)

# reads the tables: what the server remembers of names may be older than another process's commit
_INSTALLED = """
    SELECT EXISTS (
        SELECT FROM pg_proc JOIN pg_namespace ON pg_namespace.oid = pronamespace
        WHERE proname = 'sluicegate_end_1' AND nspname = ANY(current_schemas(FALSE))
    ) AS installed
"""

LEDGER = Schema(
    "ledger",
    (
        Migration(
            """
CREATE TABLE IF NOT EXISTS calls (
    id TEXT PRIMARY KEY,
    workflow TEXT NOT NULL,
    run TEXT NOT NULL,
    principal TEXT NOT NULL,
    intent TEXT NOT NULL,
    model TEXT NOT NULL,
    day TEXT NOT NULL,
    state TEXT NOT NULL,
    estimated_micros BIGINT NOT NULL,
    estimated_tokens BIGINT NOT NULL,
    real_micros BIGINT,
    real_tokens BIGINT,
    reserved_at DOUBLE PRECISION NOT NULL,
    expires_at DOUBLE PRECISION NOT NULL,
    ended_at DOUBLE PRECISION
);
CREATE INDEX IF NOT EXISTS calls_held ON calls (expires_at) WHERE state = 'held';
CREATE INDEX IF NOT EXISTS calls_day ON calls (day, workflow);
CREATE TABLE IF NOT EXISTS totals (
    scope TEXT PRIMARY KEY,
    held_micros BIGINT NOT NULL,
    spent_micros BIGINT NOT NULL,
    held_tokens BIGINT NOT NULL,
    spent_tokens BIGINT NOT NULL
);
CREATE TABLE IF NOT EXISTS clock (id INTEGER PRIMARY KEY, latest DOUBLE PRECISION NOT NULL);
""",
            _PROCEDURES,
        ),
        # a run may lie within others, whose budgets it spends too: their scopes follow its own, five of each
        Migration("ALTER TABLE calls ADD COLUMN within TEXT NOT NULL DEFAULT '[]';", (_RESERVE_WITHIN,)),
        # the calls of branches and items are paid of what was reserved for all of them, a row without a model
        Migration(
            "ALTER TABLE calls ADD COLUMN drawn_on TEXT NOT NULL DEFAULT '';"
            "CREATE INDEX calls_drawn ON calls (drawn_on) WHERE drawn_on <> '';",
            (_RESERVE_DRAWING,),
        ),
        # calls of tools are counted; the pattern is that of `policies.ledger.rows`
        Migration("CREATE INDEX calls_of_tools ON calls (day, principal, workflow) WHERE model LIKE 'tool:%';"),
        Migration("""
CREATE TABLE used_up (
    workflow TEXT NOT NULL, cap TEXT NOT NULL, for_what TEXT NOT NULL, period TEXT NOT NULL,
    PRIMARY KEY (workflow, cap, for_what, period)
);
"""),
    ),
    unnumbered=_INSTALLED,
)
"""Money and tokens: reserved, spent. `used_up` has the caps that had no room for a call, by their day or month."""
