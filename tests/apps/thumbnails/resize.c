/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A JPEG goes in, a smaller one comes out, the right way up: at most $SIZE pixels in each direction, of quality
 * $QUALITY. libjpeg does most of the reduction while it decodes (it computes an eighth of the picture for
 * an eighth of the work), the rest is the mean over each pixel's area. */

#include <errno.h>
#include <sand/function.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <jpeglib.h>

#include "exif.h"
#include "picture.h"

#define PIXELS_MAX (100U * 1000U * 1000U) /* a picture that says it has more is a bomb */

/* libjpeg's errors end in its error_exit(), which must not return. */
typedef struct Failure {
        struct jpeg_error_mgr manager;
        jmp_buf jump;
        char message[JMSG_LENGTH_MAX];
} Failure;

static void on_error(j_common_ptr jpeg) {
        Failure *f = (Failure *) jpeg->err;

        f->manager.format_message(jpeg, f->message);
        longjmp(f->jump, 1);
}

/* Damaged data that can still be decoded: the picture counts, not the warning. */
static void on_message(j_common_ptr jpeg) {
}

static struct jpeg_error_mgr *failure_init(Failure *f) {
        struct jpeg_error_mgr *m = jpeg_std_error(&f->manager);

        m->error_exit = on_error;
        m->output_message = on_message;
        return m;
}

static unsigned setting(const char *name, unsigned low, unsigned high, unsigned otherwise) {
        const char *text = getenv(name);
        char *end = NULL;
        unsigned long value = text ? strtoul(text, &end, 10) : otherwise;

        return text && (end == text || *end || value < low || value > high) ? otherwise : (unsigned) value;
}

static unsigned saved_orientation(const struct jpeg_decompress_struct *jpeg) {
        for (jpeg_saved_marker_ptr m = jpeg->marker_list; m; m = m->next)
                if (m->marker == JPEG_APP0 + 1)
                        return exif_orientation(m->data, m->data_length);
        return 1;
}

/* The least of libjpeg's scales, n/8, that still gives more than `side` pixels to average over. */
static void choose_scale(struct jpeg_decompress_struct *jpeg, unsigned side) {
        unsigned longer = jpeg->image_width > jpeg->image_height ? jpeg->image_width : jpeg->image_height;

        jpeg->scale_denom = 8;
        for (jpeg->scale_num = 1; jpeg->scale_num < 8; jpeg->scale_num++)
                if ((unsigned long) longer * jpeg->scale_num / 8 >= 2UL * side)
                        return;
}

/* Printers' CMYK, which Adobe's programs store inverted, to RGB; in place, four bytes a pixel to three. */
static void cmyk_to_rgb(unsigned char *row, unsigned width, int inverted) {
        for (unsigned x = 0; x < width; x++)
                for (unsigned c = 0, k = row[4 * x + 3]; c < 3; c++) {
                        unsigned ink = row[4 * x + c];

                        row[3 * x + c] = (unsigned char) (inverted ? ink * k / 255 : (255 - ink) * (255 - k) / 255);
                }
}

static void decode_rows(struct jpeg_decompress_struct *jpeg, Picture *p) {
        size_t stride = (size_t) p->width * p->channels;
        JSAMPARRAY row = jpeg->mem->alloc_sarray((j_common_ptr) jpeg, JPOOL_IMAGE,
                                                 p->width * (JDIMENSION) jpeg->output_components, 1);

        while (jpeg->output_scanline < jpeg->output_height) {
                unsigned char *to = p->pixels + jpeg->output_scanline * stride;

                (void) jpeg_read_scanlines(jpeg, row, 1);
                if (jpeg->out_color_space == JCS_CMYK)
                        cmyk_to_rgb(row[0], p->width, jpeg->saw_Adobe_marker);
                for (size_t i = 0; i < stride; i++)
                        to[i] = row[0][i];
        }
}

/* Everything here may be left by longjmp(): `jpeg`, `f` and `ret` belong to the caller. */
static int decode_guarded(struct jpeg_decompress_struct *jpeg, Failure *f, const void *data, size_t size,
                          unsigned side, Picture *ret, unsigned *ret_orientation) {
        int r;

        if (setjmp(f->jump))
                return -EBADMSG;
        jpeg_create_decompress(jpeg);
        jpeg_mem_src(jpeg, data, size);
        jpeg_save_markers(jpeg, JPEG_APP0 + 1, 0xffff);
        (void) jpeg_read_header(jpeg, TRUE);
        if ((unsigned long long) jpeg->image_width * jpeg->image_height > PIXELS_MAX) {
                snprintf(f->message, sizeof(f->message), "%u x %u pixels are more than 100 million",
                         jpeg->image_width, jpeg->image_height);
                return -E2BIG;
        }
        *ret_orientation = saved_orientation(jpeg);
        if (jpeg->jpeg_color_space == JCS_YCCK || jpeg->jpeg_color_space == JCS_CMYK)
                jpeg->out_color_space = JCS_CMYK;
        else if (jpeg->jpeg_color_space != JCS_GRAYSCALE)
                jpeg->out_color_space = JCS_RGB;
        choose_scale(jpeg, side);
        (void) jpeg_start_decompress(jpeg);
        r = picture_new(jpeg->output_width, jpeg->output_height,
                        jpeg->out_color_space == JCS_GRAYSCALE ? 1 : 3, ret);
        if (r < 0)
                return r;
        decode_rows(jpeg, ret);
        (void) jpeg_finish_decompress(jpeg);
        return 0;
}

static int decode(const void *data, size_t size, unsigned side, Failure *f, Picture *ret, unsigned *ret_orientation) {
        struct jpeg_decompress_struct jpeg = { .err = failure_init(f) };
        int r = decode_guarded(&jpeg, f, data, size, side, ret, ret_orientation);

        jpeg_destroy_decompress(&jpeg);
        return r;
}

static int encode_guarded(struct jpeg_compress_struct *jpeg, Failure *f, const Picture *p, unsigned quality,
                          unsigned char **data, unsigned long *size) {
        if (setjmp(f->jump))
                return -ENOMEM;
        jpeg_create_compress(jpeg);
        jpeg_mem_dest(jpeg, data, size);
        jpeg->image_width = p->width;
        jpeg->image_height = p->height;
        jpeg->input_components = (int) p->channels;
        jpeg->in_color_space = p->channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
        jpeg_set_defaults(jpeg);
        jpeg_set_quality(jpeg, (int) quality, TRUE);
        jpeg->optimize_coding = TRUE;
        jpeg_start_compress(jpeg, TRUE);
        while (jpeg->next_scanline < jpeg->image_height) {
                JSAMPROW row = p->pixels + (size_t) jpeg->next_scanline * p->width * p->channels;

                (void) jpeg_write_scanlines(jpeg, &row, 1);
        }
        jpeg_finish_compress(jpeg);
        return 0;
}

static int encode(const Picture *p, unsigned quality, Failure *f, unsigned char **ret, unsigned long *ret_size) {
        struct jpeg_compress_struct jpeg = { .err = failure_init(f) };
        int r = encode_guarded(&jpeg, f, p, quality, ret, ret_size);

        jpeg_destroy_compress(&jpeg);
        return r;
}

/* Decoded, smaller, upright; nothing of what was in between is left. */
static int thumbnail(const void *photo, size_t size, unsigned side, Failure *f, Picture *ret) {
        Picture decoded = {}, small = {};
        unsigned orientation = 1, width, height;
        int r = decode(photo, size, side, f, &decoded, &orientation);

        if (r >= 0) {
                picture_fit(decoded.width, decoded.height, side, &width, &height);
                r = picture_shrink(&decoded, width, height, &small);
        }
        if (r >= 0)
                r = picture_orient(&small, orientation, ret);
        picture_done(&decoded);
        picture_done(&small);
        return r;
}

int resize(sand_context *context, const void *event, size_t size) {
        Failure failure = {};
        Picture picture = {};
        unsigned char *jpeg = NULL;
        unsigned long jpeg_size = 0;
        int r = thumbnail(event, size, setting("SIZE", 1, 4096, 320), &failure, &picture);

        if (r >= 0)
                r = encode(&picture, setting("QUALITY", 1, 100, 85), &failure, &jpeg, &jpeg_size);
        picture_done(&picture);
        if (r == -ENOMEM)
                r = sand_fail(context, "OutOfMemory", "No memory for the picture");
        else if (r < 0)
                r = sand_fail(context, "NotAPhoto", "Not a picture that can be read: %s", failure.message);
        else
                r = sand_reply(context, jpeg, jpeg_size);
        free(jpeg);
        return r;
}
